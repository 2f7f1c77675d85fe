"""Plans that stop inside a network, or remember."""
