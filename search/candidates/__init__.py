"""The outer search: which candidate to build and measure next."""
