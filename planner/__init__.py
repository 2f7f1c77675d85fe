"""Planning jobs: what the command line, the dashboard and users' own code start from."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.planner.bundles.export import export_plan
    from trimtab.planner.pipeline.job import plan
    from trimtab.planner.specification.job import JobSpec, load_spec

__all__ = ["JobSpec", "export_plan", "load_spec", "plan"]

#: Where each name comes from; imported when it is first asked for.
_HOMES = {
    "JobSpec": "trimtab.planner.specification.job",
    "export_plan": "trimtab.planner.bundles.export",
    "load_spec": "trimtab.planner.specification.job",
    "plan": "trimtab.planner.pipeline.job",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value
