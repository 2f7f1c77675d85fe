"""Designs that stop early or remember."""
