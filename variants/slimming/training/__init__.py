"""Learning blocks alone, together, and end to end."""
