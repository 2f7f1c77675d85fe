"""Results that are computed once, and read from the store by their content key."""
