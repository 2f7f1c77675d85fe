"""Designs with routers and learned scorers."""
