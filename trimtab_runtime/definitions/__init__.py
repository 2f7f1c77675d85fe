"""What plans are, as plain data: structure, exits, routers."""
