"""Trimtab: finds the best trade-offs of image classifiers on the device they must run on.

`trimtab.plan(spec)` runs a planning job; `trimtab.Store` opens what jobs have found.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.db import Store
    from trimtab.planner import JobSpec, export_plan, load_spec, plan
    from trimtab_runtime import Answer, Plan, __version__
    from trimtab_runtime.errors import TrimtabError

__all__ = [
    "Answer",
    "JobSpec",
    "Plan",
    "Store",
    "TrimtabError",
    "__version__",
    "export_plan",
    "load_spec",
    "plan",
]

#: Where each name comes from; imported when it is first asked for.
_HOMES = {
    "Answer": "trimtab_runtime",
    "JobSpec": "trimtab.planner",
    "Plan": "trimtab_runtime",
    "Store": "trimtab.db",
    "TrimtabError": "trimtab_runtime.errors",
    "__version__": "trimtab_runtime",
    "export_plan": "trimtab.planner",
    "load_spec": "trimtab.planner",
    "plan": "trimtab.planner",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value
