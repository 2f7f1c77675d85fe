"""Members, the space of candidates, and its measured search."""
