"""What is made once and found again in the store by its content key."""
