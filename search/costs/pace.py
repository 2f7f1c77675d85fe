"""How fast a device was, as the reference work saw it, and how far a measurement followed.

Each round of a measurement runs the reference work beside the candidate. In blocks of rounds the
logarithm of the candidate's time is regressed on that of the reference work's: times are then
moved to the common pace by that coefficient, never divided by the reference. The coefficient is
shrunk by the ratio of the adjusted to the plain R2, so that it is zero where the reference
explains no more than chance does, and moves nothing where a measurement was steady.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy

from trimtab.search.costs.stage import Doubles, Visit
from trimtab.search.costs.steadiness import blocks_of, inference_ms

#: Blocks that a measurement is cut into, and those below which it tells no coefficient.
_BLOCKS, _FEWEST = 16, 8
#: The kind of reference of measurements that had none on the threads of the candidate.
PLAIN = "plain"


def pace_ms(reference: Sequence[float] | Doubles) -> float:
    """How fast the device was: the mean time of the reference work without its extremes, a fifth
    at either end. (The median jumps where a machine changes between two speeds.)"""
    return float(scipy.stats.trim_mean(np.asarray(reference), 0.2))


@dataclass(frozen=True)
class Followed:
    """How a measurement followed the reference work: times went with its time to the power of
    `coefficient` (0: not at all), which explains a share `explained` of their variance."""

    coefficient: float = 0.0
    explained: float = 0.0


def followed(times: Doubles, reference: Doubles) -> Followed:
    """How `times` (n,) followed the `reference` (rounds,) that ran beside them, both in order."""
    count = min(_BLOCKS, len(times), len(reference))
    if count < _FEWEST:
        return Followed()
    work, own = (blocks_of(each, count) for each in (reference, times))
    if min(work.min(), own.min()) <= 0:  # what takes no time on a clock follows nothing
        return Followed()
    x, y = np.log(work), np.log(own)
    x, y = x - x.mean(), y - y.mean()
    xx, xy, yy = float(x @ x), float(x @ y), float(y @ y)
    if xx <= 0 or yy <= 0 or xy <= 0:  # what slows the one does not make the other faster
        return Followed()
    plain = xy * xy / (xx * yy)
    adjusted = max(0.0, 1 - (1 - plain) * (count - 1) / (count - 2))
    return Followed(min(1.0, xy / xx) * adjusted / plain, adjusted)


def visit_followed(visit: Visit) -> Followed:
    """How a measurement, all its stages together, followed its reference work. Those of before
    are taken to have followed it wholly, as they were when their jobs decided by them: a job that
    is resumed decides as it did."""
    if reference_kind(visit) == PLAIN:
        return Followed(1.0)
    series = [times for times in inference_ms(visit.samples) if len(times)]
    if not series:
        return Followed()
    count = min(_BLOCKS, *(len(times) for times in series))
    whole = np.sum([blocks_of(times, count) for times in series], axis=0)
    return followed(whole, reference_of(visit))


def reference_of(visit: Visit) -> Doubles:
    """The times of the reference work: that on the threads of the candidate or, in measurements
    of before, the plain one."""
    samples = visit.samples
    return np.asarray(samples.get("parallel_ms", samples["reference_ms"]), np.float64)


def reference_kind(visit: Visit) -> str:
    """Times of the reference work can be compared within a kind: the same work on as many
    threads."""
    if "parallel_ms" not in visit.samples:
        return PLAIN
    return f"{visit.values.get('reference_threads', 1):.0f} threads"


@dataclass(frozen=True)
class CommonPace:
    """The pace that measurements are moved to: by the kind of reference, the time of its work."""

    ms: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, visits: Iterable[Visit]) -> CommonPace:
        """The median pace of each kind of reference."""
        paces: dict[str, list[float]] = {}
        for visit in visits:
            paces.setdefault(reference_kind(visit), []).append(pace_ms(reference_of(visit)))
        return cls({kind: float(np.median(found)) for kind, found in paces.items()})

    def factors(self, visits: Iterable[Visit]) -> list[float]:
        """What the times of each measurement are multiplied by."""
        return [self.factor(visit, visit_followed(visit)) for visit in visits]

    def factor(self, visit: Visit, found: Followed) -> float:
        """What times are multiplied by that followed a measurement's reference work as `found`.
        The pace that they are moved to lies within those that the measurement saw: of others it
        tells nothing."""
        wanted = self.ms.get(reference_kind(visit))
        if wanted is None or found.coefficient == 0.0:
            return 1.0
        reference = reference_of(visit)
        if reference_kind(visit) != PLAIN:
            seen = blocks_of(reference, _BLOCKS)
            wanted = float(np.clip(wanted, seen.min(), seen.max()))
        return float((wanted / pace_ms(reference)) ** found.coefficient)
