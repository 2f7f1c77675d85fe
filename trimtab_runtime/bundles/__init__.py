"""A bundle: one file with a manifest, models and arrays."""
