"""The order in which a device sees images."""
