"""Exact replay of plans over traces."""
