"""What `trimtab dashboard` has Streamlit run: `streamlit run main.py -- --store PATH`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trimtab.dashboard.application import run
from trimtab.planner.jobs.store_location import DEFAULT_STORE, StoreLocation


def arguments(words: list[str]) -> StoreLocation:
    """Where the store lies."""
    parser = argparse.ArgumentParser(prog="dashboard")
    parser.add_argument("--store", default=DEFAULT_STORE)
    parser.add_argument("--artefacts", type=Path)
    found = parser.parse_args(words)
    return StoreLocation(found.store, found.artefacts)


run(arguments(sys.argv[1:]))
