"""Slimmed variants of members."""
