"""Images and their labels, as they lie in folders."""
