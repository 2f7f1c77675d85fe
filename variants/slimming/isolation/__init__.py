"""Slimming in a process of its own: its requests, the calls, and the steps on the other side."""
