"""Rows of intake_matrix that a run has finished, for one that goes on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks._intake_rows import Row


class KeptRows:
    """The rows of one network, a JSON object a line in a file of `folder` (None: kept nowhere).

    A row is written as soon as it is there. `complete` says that there are no more to come in a
    run over the whole grid, or, where that is asked for, over the `quick` one.
    """

    def __init__(self, folder: Path | None, network: str, quick: bool) -> None:
        self._quick = quick
        self._path = None if folder is None else folder / f"{network.replace(' ', '-')}.jsonl"
        self.rows: list[Row] = []
        self.complete = False
        if self._path is None or not self._path.exists():
            return
        for line in self._path.read_text().splitlines():
            found = json.loads(line)
            if "complete" in found:
                self.complete |= quick or found["complete"] == "whole"
                continue
            self.rows.append(Row(**found | {"notes": tuple(found["notes"])}))

    def variations(self) -> set[str]:
        return {row.variation for row in self.rows}

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self._write(asdict(row))

    def finish(self) -> None:
        """Tell a later run that this one came to its end."""
        self.complete = True
        self._write({"complete": "quick" if self._quick else "whole"})

    def _write(self, found: dict[str, Any]) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(f"{json.dumps(found)}\n")
