"""Patterns of operators that rules look for, and blocks that they write."""
