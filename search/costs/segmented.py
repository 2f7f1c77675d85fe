"""The costs of a plan with early exits: thumbnails, then segments, then learning.

Steps are numbered as a replay counts them (stateful.py): 0 is the look at the thumbnails, which
costs nothing where none are kept; then come the segments of all stages. A segment costs less when
the frame before ran it too (warm cache: `hot`) than after something else used the caches (cold
cache: `beside`): the chance of the former is taken to be the share of frames that come to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trimtab.search.costs.base import PlanCosts
from trimtab.search.costs.correction import Correction
from trimtab.search.costs.stage import Doubles, StageCost
from trimtab_runtime.images.preprocess import resize_key

_DRAWS = 2000


@dataclass(frozen=True)
class StageSegments:
    """A stage as segments: their costs in order (one: it runs whole), with the `values` of the
    process they were measured in."""

    segments: tuple[StageCost, ...]
    values: Mapping[str, float]
    size_mb: float

    def merged(self, taps: Sequence[int]) -> StageSegments:
        """The chain with only these of its taps, as far as sums of samples can tell."""
        ends = [*(tap + 1 for tap in taps), len(self.segments)]
        starts = [0, *ends[:-1]]
        merged = []
        for start, end in zip(starts, ends, strict=True):
            parts = self.segments[start:end]
            names = parts[0].samples
            samples = {n: np.sum([part.samples[n] for part in parts], axis=0) for n in names}
            merged.append(replace(parts[0], samples=samples))
        return replace(self, segments=tuple(merged))


@dataclass(frozen=True)
class FrameOverheads:
    """Samples in ms of what every frame costs besides its networks: look at the `thumbnails`, and
    `learning`; empty where a plan does neither."""

    thumbnails: Doubles
    learning: Doubles

    def used(self) -> list[Doubles]:
        """The samples of what the plan does."""
        return [part for part in (self.thumbnails, self.learning) if len(part)]

    def mean_ms(self) -> float:
        return sum((float(part.mean()) for part in self.used()), start=0.0)


class SegmentedCosts(PlanCosts):
    """Costs of a plan by the share of frames that come to each step, (plans, 1 + segments). (A
    sensor's energy is not measured by segment, so energy is known of verified bundles only.)
    """

    def __init__(
        self,
        chains: Sequence[StageSegments],
        overheads: FrameOverheads,
        together: Mapping[str, float] | None = None,
        correction: Correction | None = None,
    ) -> None:
        values, sizes = [chain.values for chain in chains], [chain.size_mb for chain in chains]
        super().__init__(values, sizes, together, correction)
        self._chains, self._overheads = list(chains), overheads
        self._warm: list[Doubles] = []
        self._cold: list[Doubles] = []
        for number, chain in enumerate(chains):
            fmt = chain.segments[0].format
            earlier = [other.segments[0].format for other in chains[:number]]
            for position, segment in enumerate(chain.segments):
                shares = {
                    "shares_resize": any(resize_key(e) == resize_key(fmt) for e in earlier),
                    "shares_all": position > 0 or fmt in earlier,
                }
                cold_ms = segment.total("beside", **shares)
                self._cold.append(cold_ms)
                self._warm.append(segment.total("hot", **shares) if number == 0 else cold_ms)
        self._second_stage = 1 + len(chains[0].segments) if len(chains) > 1 else None

    @property
    def steps(self) -> int:
        """Thumbnails and segments."""
        return 1 + len(self._warm)

    def mean_ms(self, reach: Doubles) -> Doubles:
        total = np.full(len(reach), self._overheads.mean_ms())
        for step, (warm_ms, cold_ms) in enumerate(zip(self._warm, self._cold, strict=True), 1):
            warm = self._warm_share(reach, step)
            per_run = float(warm_ms.mean()) * warm + float(cold_ms.mean()) * (1.0 - warm)
            total += reach[:, step] * per_run
        return total * self._slower

    def _warm_share(self, reach: Doubles, step: int) -> Doubles:
        if self._second_stage is None:
            return reach[:, step]
        warm: Doubles = reach[:, step] * (1.0 - reach[:, self._second_stage])
        return warm

    def step_ms(self) -> list[float]:
        """Mean milliseconds of each step when it runs (the first stage with a warm cache)."""
        return [
            self._overheads.mean_ms() * self._slower,
            *(float(samples.mean()) * self._slower for samples in self._warm),
        ]

    def stage_spent_ms(self, reach: Doubles) -> list[float]:
        """Mean milliseconds a frame spends in each stage: `reach` (1 + segments,)."""
        spent = np.array(self.step_ms()) * reach
        ends = np.cumsum([1, *(len(chain.segments) for chain in self._chains)])
        return [float(part.sum()) for part in np.split(spent, ends[:-1])[1:]]

    def stage_times(self, reach: Sequence[float], parts: Doubles) -> list[tuple[float, float]]:
        spent = self.stage_spent_ms(parts)
        whole = self.step_ms()[0] + sum(spent)
        return [
            (part / max(share, 1e-9), part / whole)
            for part, share in zip(spent, reach, strict=True)
        ]

    def draws(self, reach: Doubles) -> Doubles:
        generator = np.random.default_rng(0)
        depth = -np.diff(np.append(reach, 0.0))
        paths: list[Doubles] = []
        for last, share in enumerate(depth):
            count = round(float(share) * _DRAWS)
            path = np.zeros(count)
            for part in self._overheads.used():
                path += generator.choice(part, count)
            for step in range(1, last + 1):
                warm = round(count * float(self._warm_share(reach[None], step)[0]))
                path += np.concatenate(
                    [
                        generator.choice(self._warm[step - 1], warm),
                        generator.choice(self._cold[step - 1], count - warm),
                    ]
                )
            paths.append(path)
        return np.concatenate(paths) * self._slower

    def measured_stages(self) -> Iterable[StageCost]:
        return (part for chain in self._chains for part in chain.segments)

    def _used(self) -> Sequence[Doubles]:
        return [*self._warm, *self._cold, *self._overheads.used()]

    def unmeasured_peak_mb(self) -> float | None:
        """Of one chain, that of the process it was measured in."""
        return self.values[0].get("peak_mb") if len(self.values) == 1 else None
