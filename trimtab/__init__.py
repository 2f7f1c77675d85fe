"""Trimtab: finds the best trade-offs of image classifiers on the device they must run on.

`trimtab.plan(spec)` runs a planning job; `trimtab.Store` opens what jobs have found.
"""

from __future__ import annotations

from db import Store
from planner.job import plan
from planner.shipping import export_plan
from planner.spec import JobSpec, load_spec
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
