"""Cascades, the problem they solve, and what a composed plan is."""
