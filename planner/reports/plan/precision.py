"""What a variant in mixed precision keeps in float, as sentences."""

from __future__ import annotations

from trimtab.db import VariantRecord
from trimtab.planner.reports.text import printable

#: What is told of such a variant beside its lineage.
MIXED_DETAILS = ("float_blocks", "error", "agreement", "w8a8_error", "w8a8_agreement")


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
