"""The families of cases, each a module with `cases(seed)` that yields them, the same every time.

A new one is a module here and a line in FAMILIES.
"""

from __future__ import annotations

import importlib

from benchmarks.hostile.cases import Case

#: Family -> its module in this package.
FAMILIES = {
    "models": "models",
    "archives": "archives",
    "images": "images",
    "specifications": "specifications",
    "devices": "devices",
    "web": "web",
    "pages": "pages",
    "signals": "signals",
}


def cases_of(family: str, seed: int) -> list[Case]:
    """The cases of a family in their order, of different names."""
    module = importlib.import_module(f"{__name__}.{FAMILIES[family]}")
    found = list(module.cases(seed))
    names = {case.name for case in found}
    assert len(names) == len(found), f"{family}: two cases of one name"
    return found
