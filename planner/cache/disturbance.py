"""What the samples of a measurement show of how far it can be trusted: how it followed the
reference work, changes of speed within it, and a pace that differs from that of others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from trimtab.profilers import ProbeResult
from trimtab.search.costs.pace import pace_ms, reference_kind, reference_of, visit_followed
from trimtab.search.costs.stage import Visit
from trimtab.search.costs.steadiness import Speeds, find_speeds, inference_ms

#: By how much the reference work's pace may differ from that of the other measurements of a job.
#: A candidate follows it by half at most, as a rule.
_OTHER_PACE = 0.15
#: Measurements that tell what pace is usual.
_USUAL = 3

_REMEDY = "stop other processes on the device, fix its clock, or use fewer threads"


def assess_measurement(found: ProbeResult) -> ProbeResult:
    """The answer to a MeasureRequest with `reference_explained` (the share of the variance of its
    times that the reference work explains) and `reference_coefficient` among its values; where
    its speed changed, with a warning, and the `speeds` in its details."""
    visit = Visit(found.values, found.samples)
    how = visit_followed(visit)
    values = {
        **found.values,
        "reference_explained": how.explained,
        "reference_coefficient": how.coefficient,
    }
    return _told(replace(found, values=values), find_speeds(inference_ms(found.samples)))


def assess_bundle(found: ProbeResult) -> ProbeResult:
    """The answer to a VerifyRequest; where its speed changed, with a warning, and the `speeds` in
    its details. Times of one path through the plan are compared with each other."""
    latency = np.asarray(found.arrays["latency_ms"], np.float64)
    paths = np.stack([found.arrays[name] for name in ("entry", "stage", "tap", "by")])
    _, path = np.unique(paths, axis=1, return_inverse=True)
    of_path = np.array([np.median(latency[path == n]) for n in range(path.max() + 1)])
    timed = (latency > 0) & (of_path[path] > 0)  # what takes no time on a clock does not vary
    if not timed.any():
        return found
    even = latency[timed] / of_path[path][timed] * np.median(latency[timed])
    return _told(found, find_speeds([even], in_order=True))


def _told(found: ProbeResult, speeds: Speeds) -> ProbeResult:
    if speeds.steady:
        return found
    told = [{"ms": speed.ms, "share": speed.share} for speed in speeds.speeds]
    return replace(
        found,
        warnings=[*found.warnings, f"{speeds.text}; {_REMEDY}"],
        details={**found.details, "speeds": told},
    )


def unsteadiness(found: ProbeResult) -> float:
    """How unsteady a measurement was, to choose among several: how much its slowest speed differs
    from its fastest, or its reference work from itself, whichever is more."""
    speeds: Any = found.details.get("speeds", ())
    ratio = speeds[-1]["ms"] / speeds[0]["ms"] - 1 if speeds else 0.0
    return max(float(found.values["unsteadiness"]), ratio)


class UsualPace:
    """The pace of the reference work in the measurements of a job, so that one that ran at
    another pace from its beginning to its end is noticed."""

    def __init__(self) -> None:
        self._known: defaultdict[str, list[float]] = defaultdict(list)

    def learn(self, values: Mapping[str, float], samples: Mapping[str, Any]) -> None:
        """Of a measurement that counts."""
        visit = Visit(values, samples)
        self._known[reference_kind(visit)].append(pace_ms(reference_of(visit)))

    def compared(self, found: ProbeResult) -> ProbeResult:
        """The answer to a MeasureRequest, with a warning where its pace is unusual."""
        visit = Visit(found.values, found.samples)
        known = self._known[reference_kind(visit)]
        if len(known) < _USUAL:
            return found
        pace, usual = pace_ms(reference_of(visit)), float(np.median(known))
        if 1 / (1 + _OTHER_PACE) <= pace / usual <= 1 + _OTHER_PACE:
            return found
        text = (
            f"the reference work took {pace:.3g} ms instead of {usual:.3g} ms as in the other "
            "measurements: the device ran at another speed all the time; cool it, fix its clock, "
            "or stop other processes"
        )
        return replace(found, warnings=[*found.warnings, text])
