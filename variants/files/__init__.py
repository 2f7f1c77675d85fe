"""Model files: read, written, simplified."""
