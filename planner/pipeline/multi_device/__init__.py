"""A job on several devices, and plans that are good on all of them."""
