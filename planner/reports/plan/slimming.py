"""The results of slimming, as sentences."""

from __future__ import annotations

from collections.abc import Collection

from trimtab.db import JobRecord, VariantRecord
from trimtab.planner.jobs.summary import SlimmedSet, SlimmingSummary, summary_of
from trimtab.planner.reports.text import printable

#: What is told of a slimmed variant beside its lineage.
SLIM_DETAILS = ("parts", "taught", "blocks", "learn", "distill")


def slimming_told(job: JobRecord, on_front: Collection[str]) -> dict[str, str]:
    """A sentence for each member that was to be slimmed. `on_front` are names of variants, as they
    are shown."""
    known = summary_of(job).get("slimming", {})
    return {printable(name): printable(_told(found, on_front)) for name, found in known.items()}


def _told(found: SlimmingSummary, on_front: Collection[str]) -> str:
    if "reason" in found:
        return f"not slimmed: {found['reason']}"
    built = found.get("built", [])
    text = (
        f"{found['saving']} of {found['proposals']} proposed blocks save time on this device, "
        f"{len(found.get('blocks', []))} were trained"
    )
    if not built:
        return f"{text}, no slimmed variant was built"
    sets = "; ".join(_set(entry) for entry in built)
    names = [printable(entry["name"]) for entry in built]
    reached = [
        name
        for name in names
        if any(other == name or other.startswith(f"{name} ") for other in on_front)
    ]
    front = f"on the front: {', '.join(reached)}" if reached else "none is on the front"
    return f"{text}; {sets}; {front}"


def _set(entry: SlimmedSet) -> str:
    count = len(entry["parts"])
    words = [
        f"{entry['name']} replaces {count} region{'s' * (count != 1)} "
        f"(saves {entry['saved_ms']:.2f} ms), and its answer differs on "
        f"{entry['disagreement']:.1%} of the validation inputs "
        f"({entry['predicted_disagreement']:.1%} predicted)"
    ]
    for metric, told in entry.get("quality", {}).items():
        words.append(f"{metric} {told['tune']:.3f} on validation, {told['test']:.3f} on test")
    return ", ".join(words)


def slim_steps(record: VariantRecord) -> list[str]:
    """A line for each region that was replaced in a slimmed variant."""
    lines = [
        f"{part['note']} ({part['rule']}; unexplained variance {part['error']:.1%}, "
        f"{part['error_before']:.0%} before training)"
        for part in record.recipe.get("parts", [])
    ]
    taught = record.recipe.get("taught")
    if taught:
        lines.append(
            f"distilled end to end for {taught['epochs']} epochs: agrees with the original model "
            f"on {taught['agreement']:.1%} of held-out calibration inputs "
            f"({taught['agreement_before']:.1%} before)"
        )
    return [printable(line) for line in lines]
