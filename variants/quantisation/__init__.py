"""Quantisation schemes, one module each."""
