"""How a variant was made, step by step, as sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.db import VariantRecord
from trimtab.planner.reports.plan.precision import (
    MIXED_DETAILS,
    SEARCHED_DETAILS,
    float_steps,
    searched_steps,
)
from trimtab.planner.reports.plan.slimming import SLIM_DETAILS, slim_steps
from trimtab.planner.reports.text import printable


def lineage_of(
    record: VariantRecord | None, by_key: Mapping[str, VariantRecord], cost: Sequence[str] = ()
) -> list[str]:
    """A line for each step, from the variant back to the member; what is told of its own `cost`
    below the first."""
    lines: list[str] = []
    while record is not None:
        recipe = dict(record.recipe)
        step, parent = recipe.pop("step", "made"), by_key.get(recipe.pop("parent", ""))
        recipe.pop("io", None)
        source = recipe.pop("torch", None)
        if step == "member":
            made = f"exported from {source}" if source else "original model"
        else:
            made = f"{step} of {parent.name if parent else 'an unknown variant'}"
        told = {
            SLIM_DETAILS: slim_steps(record),
            MIXED_DETAILS: float_steps(record),
            SEARCHED_DETAILS: searched_steps(record),
        }
        hidden = {name for names, steps in told.items() if steps for name in names}
        settings = ", ".join(
            f"{name} {_short(value)}"
            for name, value in recipe.items()
            if value and name not in hidden
        )
        lines.append(printable(f"{record.name}: {made}" + (f" ({settings})" if settings else "")))
        lines += [f"  {step}" for steps in told.values() for step in steps]
        lines += [f"  {text}" for text in cost]
        record, cost = parent, ()
    return lines


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text[:12] if len(text) == 64 else text
