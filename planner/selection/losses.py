"""What variants lost and won against the member that they were made of."""

from __future__ import annotations

from collections.abc import Mapping

from trimtab.planner.selection.data import SelectionData, alone_ms


def variant_losses(data: SelectionData, predicted_ms: Mapping[int, float]) -> dict[str, str]:
    """By the names of variants, such as 'against lite0: -1.2 top1 points, predicted 2.40x as fast'
    (on tune, against the same member as it came, each with the runtime options that proved
    fastest). `predicted_ms` is what is predicted of options alone: the one prediction that is
    shown of them."""
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
        told[name] = f"against {candidate.member}: {100 * gain:+.1f} {quality} points"
        if index in predicted_ms and parent in predicted_ms:
            ratio = predicted_ms[parent] / predicted_ms[index]
            told[name] += f", predicted {ratio:.2f}x as fast"
    return told
