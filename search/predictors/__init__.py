"""Learned predictors of cost and quality."""
