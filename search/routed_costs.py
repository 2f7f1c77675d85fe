"""What a routed plan costs: its router, and the stages between where inputs enter and stop.

A path is (entry, stop): shares of inputs are counted by path, since what two stages share (a
resize, a whole tensor) is paid once only by an input that runs both. A router that reads the first
tap of the first stage makes every input run that far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from search.correction import Correction
from search.costs import Doubles, PlanCosts, StageCost
from search.step_costs import Chain
from trimtab_runtime.preprocess import resize_key

_DRAWS = 2000


def paths(stages: int, routed: bool = True) -> list[tuple[int, int]]:
    """All (entry, stop) of so many stages, in the order in which shares are counted; without a
    router every input enters at the first."""
    entries = range(stages if routed else 1)
    return [(entry, stop) for entry in entries for stop in range(entry, stages)]


class RoutedCosts(PlanCosts):
    """Costs of a plan by the share of inputs on each path, (plans, paths).

    `chains` are its stages (the first in two segments where the router reads its tap: `taps`),
    `router_ms` samples of the router's own time and `scorer_ms` one a stage, empty where there is
    none. `further_mb` is the size of the files of router and scorers.
    """

    def __init__(
        self,
        chains: Sequence[Chain],
        router_ms: Doubles,
        scorer_ms: Sequence[Doubles],
        routed: bool = True,
        taps: bool = False,
        further_mb: float = 0.0,
        together: Mapping[str, float] | None = None,
        correction: Correction | None = None,
    ) -> None:
        values = [chain.values for chain in chains]
        sizes = [*(chain.size_mb for chain in chains), further_mb]
        super().__init__(values, sizes, together, correction)
        self.paths = paths(len(chains), routed)
        self.chains, self.scorer_samples = list(chains), list(scorer_ms)
        self.router_samples = router_ms
        self._taps = taps
        owned = [self._of_path(entry, stop) for entry, stop in self.paths]
        self._parts = [[samples for _, samples in parts] for parts in owned]
        self._owners = [[owner for owner, _ in parts] for parts in owned]
        first = chains[0].segments
        #: The first stage, part by part, after itself instead of after something else.
        self._hot = [segment.total("hot", shares_all=n > 0) for n, segment in enumerate(first)]
        beside = self._parts[0]
        self._saved = [float(h.mean() - b.mean()) for h, b in zip(self._hot, beside, strict=False)]

    def _of_path(self, entry: int, stop: int) -> list[tuple[int, Doubles]]:
        """Samples of all that an input on a path runs, with the stage they belong to (-1: the
        router); those of the first stage come first."""
        found, ran = [], list[StageCost]()
        chains = list(enumerate(self.chains))[entry : stop + 1]
        if self._taps and entry > 0:
            ran.append(self.chains[0].segments[0])
            found.append((0, ran[0].total("beside")))
        for number, chain in chains:
            for place, segment in enumerate(chain.segments):
                found.append((number, segment.total("beside", **_shared(segment, ran, place))))
            ran.append(chain.segments[0])
            if number < len(self.chains) - 1 and len(self.scorer_samples[number]):
                found.append((number, self.scorer_samples[number]))
        return found + ([(-1, self.router_samples)] if len(self.router_samples) else [])

    def mean_ms(self, reach: Doubles) -> Doubles:
        each = [sum((float(part.mean()) for part in parts), start=0.0) for parts in self._parts]
        total = reach @ np.array(each)
        # The first stage is cheaper where the input before ran nothing else: path (0, 0).
        for number, saved in enumerate(self._saved):
            total = total + saved * reach[:, 0] * self._run_first(reach, number)
        found: Doubles = total * self._slower
        return found

    def _run_first(self, reach: Doubles, part: int) -> Doubles:
        """Share of inputs (plans,) that run a part of the first stage."""
        if self._taps and part == 0:
            return np.ones(len(reach))
        enters = np.array([float(entry == 0) for entry, _ in self.paths])
        found: Doubles = reach @ enters
        return found

    def stage_spent_ms(self, reach: Doubles) -> list[float]:
        """Mean milliseconds an input spends in each stage: `reach` (paths,). With the router's
        they are the mean latency."""
        spent = np.zeros(len(self.chains) + 1)
        for share, owners, parts in zip(reach, self._owners, self._parts, strict=True):
            for owner, part in zip(owners, parts, strict=True):
                spent[owner] += share * part.mean()
        for number, saved in enumerate(self._saved):
            spent[0] += saved * reach[0] * self._run_first(reach[None], number)[0]
        return [float(ms) * self._slower for ms in spent[:-1]]

    def stage_ms(self) -> list[float]:
        """Mean milliseconds of each stage when it runs alone (the first one hot)."""
        found = [sum(float(part.mean()) for part in self._hot)]
        for chain in self.chains[1:]:
            parts = (
                segment.total("beside", shares_all=n > 0)
                for n, segment in enumerate(chain.segments)
            )
            found.append(sum(float(part.mean()) for part in parts))
        return [mean * self._slower for mean in found]

    def router_ms(self) -> float:
        """Mean milliseconds of the router itself."""
        return (
            float(self.router_samples.mean()) * self._slower if len(self.router_samples) else 0.0
        )

    def draws(self, reach: Doubles) -> Doubles:
        generator = np.random.default_rng(0)
        found: list[Doubles] = []
        for (entry, _), share, parts in zip(self.paths, reach, self._parts, strict=True):
            count = round(float(share) * _DRAWS)
            warm = round(count * float(reach[0]))
            path = np.zeros(count)
            for number, part in enumerate(parts):
                hot = self._hot_part(entry, number)
                kept = warm if hot is not None else 0
                if hot is not None:
                    path[:kept] += generator.choice(hot, kept)
                path[kept:] += generator.choice(part, count - kept)
            found.append(path)
        return np.concatenate(found) * self._slower

    def _hot_part(self, entry: int, number: int) -> Doubles | None:
        """The samples that stand in for part `number` of a path that enters at `entry`, where the
        input before ran the first stage only; None where nothing does."""
        runs = len(self._hot) if entry == 0 else int(self._taps)
        return self._hot[number] if number < runs else None

    def _used(self) -> Sequence[Doubles]:
        return [*self._hot, *(part for parts in self._parts for part in parts)]

    def _unmeasured_peak_mb(self) -> float | None:
        """Unknown until the plan has been measured in one process."""
        return None


def _shared(segment: StageCost, ran: Sequence[StageCost], place: int) -> dict[str, bool]:
    """What of a stage's input an earlier stage of the path already made."""
    earlier = [other.format for other in ran]
    resized = any(resize_key(fmt) == resize_key(segment.format) for fmt in earlier)
    return {"shares_resize": resized, "shares_all": place > 0 or segment.format in earlier}
