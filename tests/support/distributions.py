"""Distributions of this checkout, built, and programs that see nothing of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def surroundings(**variables: str) -> dict[str, str]:
    """The environment of a program, in which nothing points to this checkout."""
    hidden = ("PYTHONPATH", "TRIMTAB_", "COLUMNS", "PYTEST")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return {**kept, **variables}


def run(*command: object, folder: Path = ROOT, **variables: str) -> str:
    """What a program prints, which must end well."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=surroundings(**variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def build(folder: Path, source: Path, *kinds: str) -> Path:
    """Build distributions into `folder`; the wheel. By default it is built from a source
    distribution that was built before."""
    run(sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel
