"""Whether members are fed and read as they were trained: tried on labelled images."""
