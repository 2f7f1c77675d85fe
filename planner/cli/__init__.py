"""The `trimtab` command."""

from trimtab.planner.cli.app import app, main

__all__ = ["app", "main"]
