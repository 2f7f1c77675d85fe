"""What `trimtab dashboard` has Streamlit run: `streamlit run main.py -- --store PATH`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dashboard.application import run
from planner.cli.surroundings import DEFAULT_STORE, Surroundings


def arguments(words: list[str]) -> Surroundings:
    """Where the store lies."""
    parser = argparse.ArgumentParser(prog="dashboard")
    parser.add_argument("--store", default=DEFAULT_STORE)
    parser.add_argument("--artefacts", type=Path)
    found = parser.parse_args(words)
    return Surroundings(found.store, found.artefacts)


run(arguments(sys.argv[1:]))
