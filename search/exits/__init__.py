"""Designs with early exits or a memory."""
