"""Exit points of a network: where they are, cutting there, heads."""
