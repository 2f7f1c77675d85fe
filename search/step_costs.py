"""What a plan costs that may stop inside a network: thumbnails, then segments, then learning.

Steps are numbered as a replay counts them (stateful.py): 0 is the look at the thumbnails, which
costs nothing where none are kept; then come the segments of all stages. A segment costs less when
the frame before ran it too (`hot`) than after something else used the caches (`beside`): the
chance of the former is taken to be the share of frames that come to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from search.correction import Correction
from search.costs import BUNDLE_OVERHEAD_MB, Doubles, StageCost
from trimtab_runtime.metrics import PERCENTILE_MIN_SAMPLES
from trimtab_runtime.preprocess import resize_key

_DRAWS = 2000


@dataclass(frozen=True)
class Chain:
    """A stage as segments: their costs in order (one: it runs whole), with the `values` of the
    process they were measured in."""

    segments: tuple[StageCost, ...]
    values: Mapping[str, float]
    size_mb: float

    def merged(self, taps: Sequence[int]) -> Chain:
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
class Overheads:
    """Samples in ms of what every frame costs beside its networks: look at the `thumbnails`, and
    `learning`; empty where a plan does neither."""

    thumbnails: Doubles
    learning: Doubles

    def mean_ms(self) -> float:
        parts = (self.thumbnails, self.learning)
        return sum((float(part.mean()) for part in parts if len(part)), start=0.0)


class StepCosts:
    """Costs of a plan by the share of frames that come to each step, (plans, 1 + segments).

    `together` holds the values of a process in which this very plan was measured.
    """

    def __init__(
        self,
        chains: Sequence[Chain],
        overheads: Overheads,
        together: Mapping[str, float] | None = None,
        correction: Correction | None = None,
    ) -> None:
        self._chains, self._overheads = list(chains), overheads
        self._together = together or {}
        known = correction or Correction()
        self._slower, self._larger = (
            known.factor(metric, len(chains)) for metric in ("latency_mean_ms", "peak_memory_mb")
        )
        self._hot: list[Doubles] = []
        self._beside: list[Doubles] = []
        for number, chain in enumerate(chains):
            fmt = chain.segments[0].format
            earlier = [other.segments[0].format for other in chains[:number]]
            for position, segment in enumerate(chain.segments):
                shares = {
                    "shares_resize": any(resize_key(e) == resize_key(fmt) for e in earlier),
                    "shares_all": position > 0 or fmt in earlier,
                }
                beside = segment.total("beside", **shares)
                self._beside.append(beside)
                self._hot.append(segment.total("hot", **shares) if number == 0 else beside)
        self._second_stage = 1 + len(chains[0].segments) if len(chains) > 1 else None

    @property
    def steps(self) -> int:
        """Thumbnails and segments."""
        return 1 + len(self._hot)

    def mean_ms(self, reach: Doubles) -> Doubles:
        """Mean latency (plans,)."""
        total = np.full(len(reach), self._overheads.mean_ms())
        for step, (hot, beside) in enumerate(zip(self._hot, self._beside, strict=True), 1):
            warm = self._warm(reach, step)
            per_run = float(hot.mean()) * warm + float(beside.mean()) * (1.0 - warm)
            total += reach[:, step] * per_run
        return total * self._slower

    def _warm(self, reach: Doubles, step: int) -> Doubles:
        if self._second_stage is None:
            return reach[:, step]
        warm: Doubles = reach[:, step] * (1.0 - reach[:, self._second_stage])
        return warm

    def step_ms(self) -> list[float]:
        """Mean milliseconds of each step when it runs (the first stage hot)."""
        return [
            self._overheads.mean_ms() * self._slower,
            *(float(samples.mean()) * self._slower for samples in self._hot),
        ]

    def stage_spent_ms(self, reach: Doubles) -> list[float]:
        """Mean milliseconds a frame spends in each stage: `reach` (1 + segments,)."""
        spent = np.array(self.step_ms()) * reach
        ends = np.cumsum([1, *(len(chain.segments) for chain in self._chains)])
        return [float(part.sum()) for part in np.split(spent, ends[:-1])[1:]]

    def draws(self, reach: Doubles) -> Doubles:
        """Latency samples of one plan (see PathCosts.draws): `reach` (1 + segments,)."""
        generator = np.random.default_rng(0)
        depth = -np.diff(np.append(reach, 0.0))
        paths: list[Doubles] = []
        for last, share in enumerate(depth):
            count = round(float(share) * _DRAWS)
            path = np.zeros(count)
            for part in (self._overheads.thumbnails, self._overheads.learning):
                if len(part):
                    path += generator.choice(part, count)
            for step in range(1, last + 1):
                warm = round(count * float(self._warm(reach[None], step)[0]))
                path += np.concatenate(
                    [
                        generator.choice(self._hot[step - 1], warm),
                        generator.choice(self._beside[step - 1], count - warm),
                    ]
                )
            paths.append(path)
        return np.concatenate(paths) * self._slower

    def percentiles(self, reach: Doubles) -> dict[str, float]:
        """Percentile metrics of one plan, each only where every step has samples enough."""
        parts = (self._overheads.thumbnails, self._overheads.learning)
        used = [*self._hot, *self._beside, *(part for part in parts if len(part))]
        fewest = min(len(samples) for samples in used)
        draws = self.draws(reach)
        return {
            f"latency_p{percentile}_ms": float(np.percentile(draws, percentile))
            for percentile, needed in PERCENTILE_MIN_SAMPLES.items()
            if fewest >= needed
        }

    def known(self, reach: Doubles) -> dict[str, float]:
        """All that is known of one plan's costs, by metric. (A sensor's energy is not measured
        by segment, so energy is known of verified bundles only.)"""
        return {
            "latency_mean_ms": float(self.mean_ms(reach[None])[0]),
            **self.percentiles(reach),
            **self.fixed(),
        }

    def fixed(self) -> dict[str, float]:
        """Costs that no threshold changes: load time, memory and size. Absent where unmeasured."""
        values = [chain.values for chain in self._chains]
        found = {
            "load_ms": self._together.get("load_ms", sum(v["load_ms"] for v in values)),
            "bundle_size_mb": sum(c.size_mb for c in self._chains) + BUNDLE_OVERHEAD_MB,
        }
        peak = self._together.get("peak_mb")
        if peak is None and len(values) == 1:
            peak = values[0].get("peak_mb")
        if peak is not None:
            found["peak_memory_mb"] = peak * self._larger
        return found
