"""What a model file tells of itself."""
