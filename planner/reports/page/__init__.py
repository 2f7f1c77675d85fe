"""A job on one page: what it holds, and how it is written."""
