"""The `trimtab` command."""

from planner.cli.app import app, main

__all__ = ["app", "main"]
