"""What a variant in mixed precision keeps in float, as sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from trimtab.db import VariantRecord
from trimtab.planner.reports.measurements import MeasuredVariant
from trimtab.planner.reports.text import number, printable

#: What is told of such a variant beside its lineage.
MIXED_DETAILS = ("float_blocks", "error", "agreement", "w8a8_error", "w8a8_agreement")

#: The same of one whose recipe was searched.
SEARCHED_DETAILS = ("chosen", "tried", "error", "agreement", "w8a8_agreement")


def searched_steps(record: VariantRecord) -> list[str]:
    """Which recipe was chosen among those tried, and what that gave; none for other variants."""
    recipe = record.recipe
    if "tried" not in recipe:
        return []
    tried = sorted(recipe["tried"].items(), key=lambda pair: pair[1])
    listed = ", ".join(f"{name} {error:.2g}" for name, error in tried)
    return [
        printable(f"calibrated by {recipe['chosen']}; errors of the answers: {listed}"),
        f"so it answers as the float network on {recipe['agreement']:.1%} instead of "
        f"{recipe['w8a8_agreement']:.1%} of the images that they were compared on",
    ]


def float_steps(record: VariantRecord) -> list[str]:
    """A line for each block that stayed float, and what that gave; none for other variants."""
    recipe = record.recipe
    if "float_blocks" not in recipe:
        return []
    lines = [
        f"in float: {label} (error {error:.2g} of the answers' variance when it alone is int8)"
        for label, error in recipe["float_blocks"].items()
    ]
    lines.append(
        f"so the error is {recipe['error']:.2g} instead of {recipe['w8a8_error']:.2g}, and it "
        f"answers as the float network on {recipe['agreement']:.1%} instead of "
        f"{recipe['w8a8_agreement']:.1%} of the calibration images"
    )
    return [printable(line) for line in lines]


def float_costs(
    record: VariantRecord | None,
    variants: Iterable[VariantRecord],
    measured: Sequence[MeasuredVariant],
    options: Mapping[str, object],
) -> list[str]:
    """What the blocks in float cost: the time of a mixed variant beside those of its parent and of
    w8a8, each measured alone with the `options` of the stage. Empty for other variants, and where
    that was not measured."""
    if record is None or "float_blocks" not in record.recipe:
        return []
    parent = record.recipe.get("parent")
    made = ("w8a8", parent)
    beside = {v.key for v in variants if (v.recipe.get("step"), v.recipe.get("parent")) == made}
    times = {
        found.record.variant_key: found.beside_ms
        for found in measured
        if found.record.options == options and found.beside_ms is not None
    }
    own, whole = times.get(record.key), times.get(str(parent))
    eight = next((times[key] for key in beside if key in times), None)
    if own is None or whole is None:
        return []
    others = f"{number(whole)} ms in float"
    if eight is not None:
        others = f"{number(eight)} ms with all of it in int8, and {others}"
    return [f"it takes {number(own)} ms alone, {others}"]
