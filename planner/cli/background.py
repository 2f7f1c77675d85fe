"""`trimtab` in the background: `python -m trimtab.planner.cli.background FOLDER ARGUMENT...`.

Heeds an interrupt though a shell's background processes ignore it, and leaves its exit status in
FOLDER. trimtab.planner.jobs.background starts it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from trimtab.planner.cli import main


def run(folder: Path, arguments: list[str]) -> int:
    """Run one command line; its exit status, which is left in `folder` too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = main(arguments)
    partial = folder / ".status"
    partial.write_text(str(status), encoding="utf-8")
    os.replace(partial, folder / "status")
    return status


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
