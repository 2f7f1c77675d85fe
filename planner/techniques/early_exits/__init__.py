"""Plans with early exits inside a network, or with a memory."""
