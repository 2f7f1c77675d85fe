"""Exit points of networks: prepared once for all techniques that use them."""
