"""What describes a model: metadata in its file, configurations and class names beside it."""
