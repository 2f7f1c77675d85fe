"""The costs of a cascade, from measurements of its stages.

A stage costs less right after itself (warm cache: `hot`) than after another stage, or the
reference work, has used the caches (cold cache: `beside`): both were sampled, and the first stage
of a plan is a mixture of the two. What two stages share (a resize, a whole tensor) is paid once.
Percentiles do not add, so distributions are mixtures over paths of sums of raw samples.
Memory is what the process, the engines and the models keep, and the largest transient; stages
that were measured together in one process bring the peak that was measured there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from trimtab.search.costs.base import PlanCosts
from trimtab.search.costs.correction import Correction
from trimtab.search.costs.stage import Doubles, StageCost
from trimtab_runtime.images.preprocess import resize_key

_DRAWS = 2000


class CascadeCosts(PlanCosts):
    """Costs of every path through an ordered list of stages (stage 0, stages 0 and 1, ...).

    `together` holds the values of a process in which these very stages were measured together.
    """

    def __init__(
        self,
        stages: Sequence[StageCost],
        together: Mapping[str, float] | None = None,
        correction: Correction | None = None,
    ) -> None:
        values, sizes = [stage.values for stage in stages], [stage.size_mb for stage in stages]
        super().__init__(values, sizes, together, correction)
        self.stages = list(stages)
        self._first = (stages[0].total("hot"), stages[0].total("beside"))
        self._later = [
            stage.total(
                "beside",
                shares_resize=any(
                    resize_key(stage.format) == resize_key(earlier.format)
                    for earlier in stages[:position]
                ),
                shares_all=any(stage.format == earlier.format for earlier in stages[:position]),
            )
            for position, stage in enumerate(stages[1:], 1)
        ]

    def mean_ms(self, reach: Doubles) -> Doubles:
        """Mean latency (plans,). The input before stopped at stage 0 with probability
        1 - reach[:, 1]."""
        warm_ms, cold_ms = (float(samples.mean()) for samples in self._first)
        cooled = reach[:, 1] if reach.shape[1] > 1 else np.zeros(len(reach))
        total = warm_ms + (cold_ms - warm_ms) * cooled
        for position, samples in enumerate(self._later, 1):
            total = total + reach[:, position] * float(samples.mean())
        return total * self._slower

    def mean_value(self, name: str, reach: Doubles) -> Doubles | None:
        known = [values.get(name) for values in self.values]
        if any(value is None for value in known):
            return None
        return reach @ np.array(known, np.float64)

    def stage_ms(self) -> list[float]:
        """Mean milliseconds of each stage when it runs (the first one with a warm cache)."""
        means = [float(samples.mean()) for samples in (self._first[0], *self._later)]
        return [mean * self._slower for mean in means]

    def stage_times(self, reach: Sequence[float], parts: Doubles) -> list[tuple[float, float]]:
        means = self.stage_ms()
        spent = [share * mean for share, mean in zip(reach, means, strict=True)]
        return [(mean, part / sum(spent)) for mean, part in zip(means, spent, strict=True)]

    def draws(self, reach: Doubles) -> Doubles:
        generator = np.random.default_rng(0)
        depth = np.diff(np.append(reach, 0.0)) * -1.0
        paths: list[Doubles] = []
        for last, share in enumerate(depth):
            count = round(float(share) * _DRAWS)
            cooled = count - round(count * float(1.0 - reach[1])) if len(reach) > 1 else 0
            path = np.concatenate(
                [
                    generator.choice(self._first[0], count - cooled),
                    generator.choice(self._first[1], cooled),
                ]
            )
            for samples in self._later[:last]:
                path = path + generator.choice(samples, count)
            paths.append(path)
        return np.concatenate(paths) * self._slower

    def measured_stages(self) -> Iterable[StageCost]:
        return self.stages

    def _used(self) -> Sequence[Doubles]:
        return [*(self._first if self._later else self._first[:1]), *self._later]

    def unmeasured_peak_mb(self) -> float | None:
        """Base process, what stays resident, and the largest transient."""
        values = self.values
        if not all("resident_mb" in v for v in values):
            return None
        engines = {s.options.engine: s.values["engine_mb"] for s in self.stages}
        transients = [max(v["load_transient_mb"], v["run_transient_mb"]) for v in values]
        return (
            max(v["start_mb"] for v in values)
            + sum(engines.values())
            + sum(v["resident_mb"] for v in values)
            + max(transients)
        )
