"""A plan as one file, and its verification on the device."""
