"""What plans answer on `test`, input by input, rebuilt from the store."""
