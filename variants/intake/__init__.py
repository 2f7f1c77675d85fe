"""Model files as their exporters leave them, made into one that everything here reads and runs."""
