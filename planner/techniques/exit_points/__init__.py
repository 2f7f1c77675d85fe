"""Exit points of networks: prepared once for every technique that stops there."""
