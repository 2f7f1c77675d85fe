"""The costs of a routed plan: its router, and the stages that inputs run.

A path is (entry, stop, segments): shares of inputs are counted by path, since what two stages
share (a resize, a whole tensor) is paid once only by an input that runs both. Of the stage where
it stops an input runs so many segments: all, unless a head answers at a tap. A router that reads
the first tap of the first stage makes every input run that far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from trimtab.search.costs.base import PlanCosts
from trimtab.search.costs.correction import Correction
from trimtab.search.costs.segmented import StageSegments
from trimtab.search.costs.stage import Doubles, StageCost
from trimtab_runtime.images.preprocess import resize_key

_DRAWS = 2000


#: Entry, stop, and segments of the stage where it stops.
Path = tuple[int, int, int]


def paths(ends: Sequence[Sequence[int]], routed: bool = True) -> list[Path]:
    """All paths, in the order in which shares are counted. `ends` are, of each stage, the numbers
    of segments after which it may answer; without a router every input enters at the first."""
    entries = range(len(ends) if routed else 1)
    stops = [(stop, ran) for stop, own in enumerate(ends) for ran in own]
    return [(entry, stop, ran) for entry in entries for stop, ran in stops if stop >= entry]


class RoutedCosts(PlanCosts):
    """Costs of a plan by the share of inputs on each path, (plans, paths).

    `chains` are its stages (the first cut where the router reads its tap: `taps`), `router_ms`
    samples of the router's own time and `scorer_ms` one a stage, empty where there is none. `ends`
    as :func:`paths` takes them; by default stages answer at their end only. `further_mb` is the
    size of the files of router and scorers.
    """

    def __init__(
        self,
        chains: Sequence[StageSegments],
        router_ms: Doubles,
        scorer_ms: Sequence[Doubles],
        routed: bool = True,
        taps: bool = False,
        further_mb: float = 0.0,
        together: Mapping[str, float] | None = None,
        correction: Correction | None = None,
        ends: Sequence[Sequence[int]] = (),
    ) -> None:
        values = [chain.values for chain in chains]
        sizes = [*(chain.size_mb for chain in chains), further_mb]
        super().__init__(values, sizes, together, correction)
        ends = ends or [(len(chain.segments),) for chain in chains]
        self.paths = paths(ends, routed)
        self.chains, self.scorer_samples = list(chains), list(scorer_ms)
        self.router_samples = router_ms
        self._taps = taps
        owned = [self._of_path(*path) for path in self.paths]
        self._parts = [[samples for _, samples in parts] for parts in owned]
        self._owners = [[owner for owner, _ in parts] for parts in owned]
        first = chains[0].segments
        #: The first stage, part by part, after itself instead of after something else.
        self._warm = [segment.total("hot", shares_all=n > 0) for n, segment in enumerate(first)]
        cold_ms = self._parts[len(ends[0]) - 1]  # the first stage, all of it
        self._saved = [
            float(h.mean() - b.mean()) for h, b in zip(self._warm, cold_ms, strict=False)
        ]
        self._alone = np.array([float(stop == 0) for _, stop, _ in self.paths])

    def _of_path(self, entry: int, stop: int, ran: int) -> list[tuple[int, Doubles]]:
        """Samples of all that an input on a path runs, with the stage they belong to (-1: the
        router); those of the first stage come first."""
        found, seen = [], list[StageCost]()
        chains = list(enumerate(self.chains))[entry : stop + 1]
        if self._taps and entry > 0:
            seen.append(self.chains[0].segments[0])
            found.append((0, seen[0].total("beside")))
        for number, chain in chains:
            segments = chain.segments[:ran] if number == stop else chain.segments
            for place, segment in enumerate(segments):
                found.append((number, segment.total("beside", **_shared(segment, seen, place))))
            seen.append(segments[0])
            whole = len(segments) == len(chain.segments) and number < len(self.chains) - 1
            if whole and len(self.scorer_samples[number]):
                found.append((number, self.scorer_samples[number]))
        return found + ([(-1, self.router_samples)] if len(self.router_samples) else [])

    def mean_ms(self, reach: Doubles) -> Doubles:
        each = [sum((float(part.mean()) for part in parts), start=0.0) for parts in self._parts]
        total = reach @ np.array(each)
        # The first stage is cheaper where the input before ran nothing else.
        for number, saved in enumerate(self._saved):
            total = total + saved * (reach @ self._alone) * self._run_first(reach, number)
        found: Doubles = total * self._slower
        return found

    def _run_first(self, reach: Doubles, part: int) -> Doubles:
        """Share of inputs (plans,) that run a part of the first stage."""
        if self._taps and part == 0:
            return np.ones(len(reach))
        runs = [entry == 0 and (stop > 0 or ran > part) for entry, stop, ran in self.paths]
        found: Doubles = reach @ np.array(runs, np.float64)
        return found

    def stage_spent_ms(self, reach: Doubles) -> list[float]:
        """Mean milliseconds an input spends in each stage: `reach` (paths,). With the router's
        they are the mean latency."""
        spent = np.zeros(len(self.chains) + 1)
        for share, owners, parts in zip(reach, self._owners, self._parts, strict=True):
            for owner, part in zip(owners, parts, strict=True):
                spent[owner] += share * part.mean()
        for number, saved in enumerate(self._saved):
            spent[0] += saved * (reach @ self._alone) * self._run_first(reach[None], number)[0]
        return [float(ms) * self._slower for ms in spent[:-1]]

    def stage_ms(self) -> list[float]:
        """Mean milliseconds of each stage when it runs alone (the first with a warm cache)."""
        found = [sum(float(part.mean()) for part in self._warm)]
        for chain in self.chains[1:]:
            parts = (
                segment.total("beside", shares_all=n > 0)
                for n, segment in enumerate(chain.segments)
            )
            found.append(sum(float(part.mean()) for part in parts))
        return [mean * self._slower for mean in found]

    def stage_times(self, reach: Sequence[float], parts: Doubles) -> list[tuple[float, float]]:
        spent = self.stage_spent_ms(parts)
        whole = sum(spent) + self.router_ms()
        return [(mean, part / whole) for mean, part in zip(self.stage_ms(), spent, strict=True)]

    def router_ms(self) -> float:
        return (
            float(self.router_samples.mean()) * self._slower if len(self.router_samples) else 0.0
        )

    def draws(self, reach: Doubles) -> Doubles:
        generator = np.random.default_rng(0)
        found: list[Doubles] = []
        for share, parts, owners in zip(reach, self._parts, self._owners, strict=True):
            count = round(float(share) * _DRAWS)
            warm = round(count * float(reach @ self._alone))
            path = np.zeros(count)
            for number, (part, owner) in enumerate(zip(parts, owners, strict=True)):
                is_warm = owner == 0 and number < len(self._warm)
                kept = warm if is_warm else 0
                if is_warm:
                    path[:kept] += generator.choice(self._warm[number], kept)
                path[kept:] += generator.choice(part, count - kept)
            found.append(path)
        return np.concatenate(found) * self._slower

    def measured_stages(self) -> Iterable[StageCost]:
        return (part for chain in self.chains for part in chain.segments)

    def _used(self) -> Sequence[Doubles]:
        return [*self._warm, *(part for parts in self._parts for part in parts)]

    def unmeasured_peak_mb(self) -> float | None:
        """Unknown until the plan has been measured in one process."""
        return None


def _shared(segment: StageCost, ran: Sequence[StageCost], place: int) -> dict[str, bool]:
    """What of a stage's input an earlier stage of the path already made."""
    earlier = [other.format for other in ran]
    resized = any(resize_key(fmt) == resize_key(segment.format) for fmt in earlier)
    return {"shares_resize": resized, "shares_all": place > 0 or segment.format in earlier}
