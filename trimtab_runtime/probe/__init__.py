"""Measuring in a process of its own: `python -m trimtab_runtime.probe REQUEST RESULT`."""
