"""Changes of speed within a measurement: steps, bursts, and two speeds that take turns.

Two tests, each with the false alarm rate `FALSE_ALARMS`, look at the logarithms of times in the
order in which they were taken:

- *in order*: is there a stretch that differs from the rest more than any stretch does once the
  same times are shuffled (a permutation test of circular binary segmentation's statistic; Olshen
  et al. 2004)? Where there is, its parts are looked at again. This finds steps and bursts.
- *in any order*: do the times fall into two groups more clearly than those of a uniform
  distribution, the least favourable one with a single mode? This finds two speeds that change
  faster than the order could show.

What is found counts only where it matters: the slower speed is `MATERIAL` slower at least, for
`FEWEST` of the time at least. Times that are drawn independently from one distribution with a
single mode are flagged in one or two of a hundred measurements at most, and in fewer where they
vary by less than `MATERIAL`.

Last, a plain count: single times far above the others (the process had to wait) that move the mean
by more than `MATERIAL` make it a figure of how often that happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import scipy
from numpy.typing import NDArray

from trimtab.search.costs.stage import Doubles

Ints = NDArray[np.int64]

FALSE_ALARMS = 0.01
#: A slower speed that matters, relative to the faster one, and the share of time it takes.
MATERIAL = 0.05
FEWEST = 0.05
#: Times that tell anything, and blocks into which more of them are put.
SHORTEST, _BLOCKS = 12, 60
_SHORTEST_STRETCH = 2  # blocks
_SHUFFLES = 399
#: Share of times in the smaller group, where two speeds take turns.
_GROUP = 0.1
#: By how much a time exceeds the median that stands apart: relative to the median, and in units of
#: the spread of the others.
_FAR, _FAR_SPREADS = 0.5, 6.0


@dataclass(frozen=True)
class Speed:
    """One of the speeds of a measurement: its time in ms, and its share of the times."""

    ms: float
    share: float


@dataclass(frozen=True)
class Speeds:
    """The `speeds` of a measurement, the fastest first; more than one where it was not steady.
    `changes` counts how often one followed another, None where they took turns too fast to say."""

    speeds: tuple[Speed, ...]
    changes: int | None = 0

    @property
    def steady(self) -> bool:
        return len(self.speeds) < 2

    @property
    def text(self) -> str:
        """A sentence; empty where the measurement was steady."""
        if self.steady:
            return ""
        known = [f"{speed.ms:.3g}" for speed in self.speeds]
        if len(known) == 2:
            slower = self.speeds[1].share
            share = f"{slower:.0%}" if slower >= 0.01 else "less than 1 %"
            found = f"two speeds: {known[0]} and {known[1]} ms, {share} of the time in the slower"
        else:
            found = f"{len(known)} speeds, from {known[0]} to {known[-1]} ms"
        times = {None: "", 1: "; it changed once"}.get(
            self.changes, f"; it changed {self.changes} times"
        )
        return found + times


def inference_ms(samples: Mapping[str, Sequence[float]]) -> list[Doubles]:
    """The inferences (n,) of a measurement's stages in the order in which they were taken: of the
    first with a warm cache, of others after the stage before. (What comes before an inference
    depends on the image.)"""
    found = []
    for name, times in samples.items():
        position, _, what = name.partition("_")
        if what == ("hot_inference_ms" if position == "0" else "beside_inference_ms"):
            found.append(np.asarray(times, np.float64))
    return found


def find_speeds(series: Sequence[Doubles], in_order: bool = False) -> Speeds:
    """The speeds of what was measured by turns: one series a stage, each in order and of as many
    rounds. Their times are those of all stages together. Only speeds that follow each other are
    looked for `in_order`: where times differ by what ran, two groups of them mean nothing."""
    series = [times for times in series if len(times) >= SHORTEST]
    if not series:
        return Speeds(())
    fewest = min(len(times) for times in series)
    whole = np.sum([blocks_of(times, fewest) for times in series], axis=0)
    found = _in_order(whole) or (None if in_order else _in_turns(whole)) or _apart(whole)
    return found or Speeds((Speed(float(np.median(whole)), 1.0),))


def blocks_of(times: Doubles, count: int) -> Doubles:
    """So many blocks of times that follow each other, each by its median."""
    if len(times) <= count:
        return times
    return np.array([np.median(part) for part in np.array_split(times, count)])


# ---- in order ----


def _in_order(times: Doubles) -> Speeds | None:
    """Steps and bursts; None where there are none."""
    in_each = -(-len(times) // _BLOCKS)  # alike, so that their shares are those of the times
    blocks = blocks_of(times, -(-len(times) // in_each))
    edges = sorted({0, len(blocks), *_edges(np.log(blocks), 0)})
    if len(edges) == 2:
        return None
    stretches = [blocks[start:end] for start, end in pairwise(edges)]
    return _named([Speed(float(np.median(p)), len(p) / len(blocks)) for p in stretches])


def _named(stretches: Sequence[Speed]) -> Speeds | None:
    """Stretches in order, those of about the same speed put together; None where that leaves one
    speed, or nearly."""
    kinds: list[list[Speed]] = []
    for stretch in sorted(stretches, key=lambda speed: speed.ms):
        if kinds and stretch.ms < _together(kinds[-1]).ms * (1 + MATERIAL / 2):
            kinds[-1].append(stretch)
        else:
            kinds.append([stretch])
    speeds = [_together(kind) for kind in kinds]
    if 1 - max(speed.share for speed in speeds) < FEWEST:
        return None
    order = [next(n for n, kind in enumerate(kinds) if s in kind) for s in stretches]
    return Speeds(tuple(speeds), sum(a != b for a, b in pairwise(order)))


def _together(parts: Sequence[Speed]) -> Speed:
    share = sum(part.share for part in parts)
    return Speed(sum(part.ms * part.share for part in parts) / share, share)


def _edges(logs: Doubles, offset: int) -> list[int]:
    """Where stretches of another speed begin or end, counted from `offset`."""
    if len(logs) < SHORTEST:
        return []
    found = _stretch(logs)
    if found is None:
        return []
    start, end = found
    parts = [(0, start), (start, end), (end, len(logs))]
    inner = [edge for a, b in parts for edge in _edges(logs[a:b], offset + a)]
    return [offset + start, offset + end, *inner]


def _stretch(logs: Doubles) -> tuple[int, int] | None:
    """The stretch (start, end) that differs most from the rest, where it does."""
    spread = float(logs.std())
    if spread == 0.0:
        return None
    starts, ends, scales = _stretches(len(logs))
    generator = np.random.default_rng(0)
    shuffled = generator.permuted(np.tile(logs, (_SHUFFLES, 1)), axis=1)
    sums = np.cumsum(np.vstack([logs, shuffled]) - logs.mean(), axis=1)
    sums = np.hstack([np.zeros((len(sums), 1)), sums])
    differences = np.abs(sums[:, ends] - sums[:, starts]) * scales
    largest = differences.max(axis=1)
    if (largest[1:] >= largest[0]).sum() + 1 > FALSE_ALARMS * (_SHUFFLES + 1):
        return None
    best = int(differences[0].argmax())
    start, end = int(starts[best]), int(ends[best])
    inside, outside = logs[start:end], np.concatenate([logs[:start], logs[end:]])
    if abs(np.median(inside) - np.median(outside)) < np.log1p(MATERIAL):
        return None
    return start, end


@lru_cache(maxsize=128)
def _stretches(count: int) -> tuple[Ints, Ints, Doubles]:
    """All stretches of `count` blocks: starts, ends, and what their sums are divided by so that
    all vary alike."""
    pairs = [
        (start, end)
        for start in range(count)
        for end in range(start + _SHORTEST_STRETCH, count + 1)
        if count - (end - start) >= _SHORTEST_STRETCH
    ]
    starts, ends = np.array(pairs).T
    lengths = (ends - starts).astype(np.float64)
    return starts, ends, np.sqrt(count / (lengths * (count - lengths)))


# ---- in any order ----


def _apart(times: Doubles) -> Speeds | None:
    """Single times far above the others that move the mean; None where there are none."""
    usual = float(np.median(times))
    spread = float(scipy.stats.median_abs_deviation(times, scale="normal"))
    far = times - usual > max(_FAR * usual, _FAR_SPREADS * spread)
    if not far.any() or times.mean() / times[~far].mean() - 1 < MATERIAL:
        return None
    share = float(far.mean())
    near, distant = float(np.median(times[~far])), float(times[far].mean())
    return Speeds((Speed(near, 1 - share), Speed(distant, share)), None)


def _in_turns(times: Doubles) -> Speeds | None:
    """Two speeds by turns; None where there is one."""
    ordered = np.sort(np.log(times))
    separation, split = _separation(ordered)
    slower, faster = ordered[split:], ordered[:split]
    if np.median(slower) - np.median(faster) < np.log1p(MATERIAL):
        return None
    if separation <= _critical(len(ordered)):
        return None
    groups = [(float(np.exp(np.median(g))), len(g) / len(ordered)) for g in (faster, slower)]
    return Speeds(tuple(Speed(ms, share) for ms, share in groups), None)


def _separation(ordered: Doubles) -> tuple[float, int]:
    """The share of the variance that lies between the two groups which sorted numbers fall into
    best, and where the second one begins."""
    count = len(ordered)
    centred = ordered - ordered.mean()
    least = max(1, int(np.ceil(_GROUP * count)))
    sizes = np.arange(least, count - least + 1)
    sums = np.cumsum(centred)[sizes - 1]
    between = sums**2 * count / (sizes * (count - sizes))
    best = int(between.argmax())
    total = float((centred**2).sum())
    return (float(between[best] / total) if total > 0 else 0.0), int(sizes[best])


@lru_cache(maxsize=128)
def _critical(count: int) -> float:
    """The separation that a share FALSE_ALARMS of uniform samples exceeds."""
    generator = np.random.default_rng(0)
    drawn = np.sort(generator.random((1000, count)), axis=1)
    return float(np.quantile([_separation(row)[0] for row in drawn], 1 - FALSE_ALARMS))
