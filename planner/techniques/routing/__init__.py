"""Plans with a router or with learned deferral."""
