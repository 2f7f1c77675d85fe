"""Generators of plans and variants beyond single models and cascades."""
