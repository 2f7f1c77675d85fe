"""Jobs: from a specification to a verified front and its bundles."""
