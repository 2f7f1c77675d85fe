"""Images: preprocessing, and features that routers look at."""
