"""Runs a case in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks._options import ROOT
from benchmarks.hostile.cases import Case, end

#: The outcomes that are as they should be.
FINE = ("refused", "survived")


@dataclass(frozen=True)
class Result:
    """What became of a case."""

    family: str
    case: str
    outcome: str
    detail: str
    peak_gb: float
    silence_s: float

    def text(self) -> str:
        figures = f"{self.peak_gb:.2f} GB, {self.silence_s:.1f} s"
        return f"{self.outcome:9} {self.family}/{self.case} ({figures}) {self.detail[:300]}"


@contextmanager
def _folder() -> Iterator[str]:
    """A new one, removed afterwards however deep a case made it."""
    folder = tempfile.mkdtemp(prefix="trimtab-hostile-")
    try:
        yield folder
    finally:
        subprocess.run(["rm", "-rf", folder], check=False)


def run_case(family: str, case: Case, seed: int) -> Result:
    """Run it in a fresh process and folder; it is `ended` where that dies or takes too long."""
    module = "benchmarks.hostile.attempt"
    with _folder() as folder:
        private = {"TRIMTAB_CACHE": f"{folder}/cache", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", module, family, case.name, str(seed), folder],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **private},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            output, said = process.communicate(timeout=case.limit_s)
        except subprocess.TimeoutExpired:
            detail = f"it went on for {case.limit_s:g} s"
            return Result(family, case.name, "ended", detail, 0.0, case.limit_s)
        finally:
            end(process)
    if process.returncode != 0:
        last = said.decode(errors="replace").strip()[-300:]
        detail = f"its process died of status {process.returncode}: {last}"
        return Result(family, case.name, "ended", detail, 0.0, 0.0)
    told = json.loads(output.splitlines()[-1])
    return Result(family, case.name, **told)
