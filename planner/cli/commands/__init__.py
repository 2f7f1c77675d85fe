"""One module a command, or a group of them that belong together."""
