"""What every benchmark may be given: `--data DIR`, the data pack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_DATA = ROOT.parent / "shared" / "data"
#: Parts of the tests that some benchmarks are made of.
SUPPORT = ROOT / "tests" / "support"

DataFolder = Annotated[Path, typer.Option(envvar="TRIMTAB_DATA", help="the data pack")]
#: Taken so that all benchmarks can be called alike.
NoData = Annotated[
    Path, typer.Option("--data", envvar="TRIMTAB_DATA", help="not needed by this benchmark")
]
