"""What variants lost and won against the member that they were made of."""

from __future__ import annotations

from trimtab.planner.selection.data import SelectionData, alone_ms


def variant_losses(data: SelectionData) -> dict[str, str]:
    """By the names of variants, such as 'against lite0: -1.2 top1 points, 2.4x faster' (on tune,
    against the same member as it came, each with the runtime options that proved fastest)."""
    quality = data.quality[0]
    originals = {data.measured[index].candidate.member: index for index in data.members}
    fastest: dict[str, int] = {}
    for index, found in enumerate(data.measured):
        if found.candidate.form.is_original or found.candidate.member not in originals:
            continue
        rival = fastest.setdefault(found.built.variant.name, index)
        if alone_ms(data.options[index]) < alone_ms(data.options[rival]):
            fastest[found.built.variant.name] = index
    told = {}
    for name, index in fastest.items():
        candidate = data.measured[index].candidate
        parent = originals[candidate.member]
        gain = data.capability(index) - data.capability(parent)
        ratio = alone_ms(data.options[parent]) / alone_ms(data.options[index])
        points = f"{100 * gain:+.1f} {quality} points"
        told[name] = f"against {candidate.member}: {points}, {_speed(ratio)}"
    return told


def _speed(ratio: float) -> str:
    return f"{ratio:.1f}x faster" if ratio >= 1 else f"{1 / ratio:.1f}x slower"
