"""Pictures that can be touched."""
