"""Interactive charts."""
