"""Objectives, constraints and Pareto fronts."""
