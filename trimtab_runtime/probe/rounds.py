"""Rounds of bundles that take turns (paired.py): what is to be done, and what was found."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab_runtime.probe.conditions import warnings_of
from trimtab_runtime.probe.requests import PairedRequest
from trimtab_runtime.probe.resident_process import ResidentProcess

Doubles = Any
Spans = list[tuple[int, int]]  # Python 3.9 can evaluate it

#: A round in which bundles took this many times what they take in a quick one was disturbed.
SLOW = 1.15
#: Share of the blocks that must be known undisturbed.
ENOUGH = 0.5
#: Shares of the time that answering every image once may take, and starting processes: the rest is
#: for repeated rounds.
_ANSWERING, _STARTING = 0.5, 0.25
#: Sittings that there are however long they take to start: fewer say little of the next.
_FEWEST = 3
_FIELDS = ("latency_ms", "entry", "stage", "tap", "by")


@dataclass(frozen=True)
class Round:
    """A block on every bundle. `answers` are by the number of the bundle, `conditions` what else
    the machine did (conditions.py)."""

    block: int
    sitting: int
    start_s: float
    order: tuple[int, ...]
    images: tuple[int, ...]
    answers: dict[int, dict[str, Any]]
    conditions: Mapping[str, float]


class Rounds:
    """What was `found`, and what is to be done: `blocks` of spans of images, one span for each
    part, in `sittings`. Clocks begin when it is planned (`begun`)."""

    def __init__(self, request: PairedRequest) -> None:
        self.settings = request.settings
        self._request = request
        self._random = random.Random(request.seed)  # an order, no secret
        self.found: list[Round] = []
        self.blocks: list[Spans] = []
        self.sittings, self.begun = 1, 0.0

    def plan(self, residents: Sequence[ResidentProcess], start_s: float) -> None:
        """Cut the parts into blocks: of all their images, or of as many as there is time for; and
        these into sittings, as many as were asked for or as can be started in time, if starting
        all bundles takes `start_s`. What remembers must see the stream again in each of them."""
        settings, request = self.settings, self._request
        needed_s = sum(each.image_ms for each in residents) / 1e3 * len(request.images)
        share = min(1.0, _ANSWERING * settings.max_seconds / needed_s) if needed_s else 1.0
        edges = []
        for first, end in request.parts:
            count = max(min(settings.rounds, end - first), int(share * (end - first)))
            edges.append(first + np.linspace(0, count, settings.rounds + 1).astype(int))
        for number in range(settings.rounds):
            spans = [(int(edge[number]), int(edge[number + 1])) for edge in edges]
            filled = [span for span in spans if span[0] < span[1]]
            self.blocks += [filled] if filled else []
        recalled_ms = sum(each.image_ms for each in residents if each.remembers)
        each_s = start_s + share * recalled_ms / 1e3 * len(request.images) / 2
        possible = _STARTING * settings.max_seconds / each_s if each_s else math.inf
        most = min(settings.sittings, len(self.blocks))
        self.sittings = int(min(most, max(possible, _FEWEST)))
        self.begun = time.perf_counter()

    def planned(self, sitting: int) -> list[int]:
        """Numbers of the blocks of a sitting; of none beyond those that were planned."""
        share = len(self.blocks) / self.sittings
        first, end = (min(len(self.blocks), round(n * share)) for n in (sitting, sitting + 1))
        return list(range(first, end))

    def due(self, block: int) -> float:
        """When a block begins: they are spread over time."""
        return self.begun + self.settings.spread_seconds / len(self.blocks) * block

    def order(self) -> tuple[int, ...]:
        """The bundles, shuffled."""
        numbers = list(range(len(self._request.bundles)))
        self._random.shuffle(numbers)
        return tuple(numbers)

    def wanted(self, sitting: int, now: float) -> bool:
        """Whether there is something for one more sitting to do."""
        if self.late(now):
            return False
        return bool(self.planned(sitting) or (self.sittings > 1 and self.to_repeat(now)))

    def late(self, now: float) -> bool:
        """Whether the machine is so much slower than it was when this was planned that turns end
        with what there is."""
        return bool(self.found) and now > self.begun + 2 * self.settings.max_seconds

    def may_repeat(self, sitting: int, ran: int) -> bool:
        """Whether a sitting that `ran` so many rounds may repeat more at its end: as many as the
        others have, after the last one that was planned; all, where there is only one."""
        if self.sittings == 1:
            return sitting == 0
        return sitting >= self.sittings and ran < len(self.blocks) / self.sittings

    def to_repeat(self, now: float) -> list[int]:
        """Blocks that ran, and never undisturbed, the one that waited longest first; none after
        rounds enough, when time is over, or where no round was undisturbed for half the time that
        there is."""
        settings = self.settings
        most = settings.visits * len(self.blocks)
        if not self.found or now > self.begun + settings.max_seconds or len(self.found) >= most:
            return []
        disturbed = self.disturbed()
        quiet = [each.start_s for each, bad in zip(self.found, disturbed) if not bad]
        if now - self.begun - max(quiet, default=0.0) > settings.max_seconds / 2:
            return []
        last = {each.block: number for number, each in enumerate(self.found)}
        return sorted(last.keys() - self._well(disturbed), key=lambda block: last[block])

    def _well(self, disturbed: Any) -> set[int]:
        """Blocks that ran undisturbed."""
        return {each.block for each, bad in zip(self.found, disturbed) if not bad}

    def paces(self) -> Doubles:
        """How long each round took, (rounds,), relative to a quick one: the lower median over
        bundles, for what one bundle alone does is no noise; each answer relative to quick ones of
        the same bundle that took the same way through it, for harder images are no noise either.
        Only images of the first part count, on which plans are decided: no other may say which
        rounds that is done by.
        """
        bundles = range(len(self._request.bundles))
        paces = np.stack([self._paces_of(number) for number in bundles], axis=1)
        return np.percentile(paces, 50, axis=1, method="lower")

    def _paces_of(self, bundle: int) -> Doubles:
        end = self._request.parts[0][1]
        first = [np.array(found.images) < end for found in self.found]
        answers = [
            {name: np.array(found.answers[bundle][name])[own] for name in _FIELDS}
            for found, own in zip(self.found, first)
        ]
        times = np.concatenate([told["latency_ms"] for told in answers])
        if not len(times):
            return np.ones(len(answers))
        ways = np.concatenate(
            [np.stack([told[name] for name in _FIELDS[1:]], axis=1) for told in answers]
        )
        _, way = np.unique(ways, axis=0, return_inverse=True)
        way = way.reshape(-1)  # numpy 2.0 gave it a second axis
        for number in range(way.max() + 1):
            times[way == number] /= np.percentile(times[way == number], 25)
        ends = np.cumsum([len(told["latency_ms"]) for told in answers])
        parts = np.split(times, ends[:-1])
        return np.array([part.mean() if len(part) else 1.0 for part in parts])

    def disturbed(self) -> Any:
        """Which rounds were, (rounds,): something else went on, or all bundles were slow."""
        disturbed = [bool(warnings_of(each.conditions)) for each in self.found]
        return np.array(disturbed, bool) | (self.paces() > SLOW)

    def causes(self, disturbed: Any) -> list[str]:
        """Why too few blocks are known undisturbed; nothing where enough are."""
        if len(self._well(disturbed)) >= ENOUGH * len(self.blocks):
            return []
        most: dict[str, float] = {}
        for each in self.found:
            for name, value in each.conditions.items():
                most[name] = max(value, most.get(name, value))
        said = [f"{int(disturbed.sum())} of {len(self.found)} rounds were disturbed"]
        pace = float(self.paces().max())
        if pace > SLOW:
            said.append(f"the slowest round took {pace:.1f} times as long as a quick one")
        worst = warnings_of(most) or ["stop other processes, or measure when the device is idle"]
        return ["; ".join([*said, *worst])]

    def arrays(self, disturbed: Any) -> dict[str, Any]:
        """What is told of it (paired.py)."""
        found = self.found
        told: dict[str, list[Any]] = {"round": [], "bundle": [], "image": []}
        told.update((name, []) for name in (*_FIELDS, "index"))
        for number, each in enumerate(found):
            for bundle in each.order:
                told["round"] += [number] * len(each.images)
                told["bundle"] += [bundle] * len(each.images)
                told["image"] += each.images
                for name in _FIELDS:
                    told[name] += each.answers[bundle][name]
                unknown = [-1] * len(each.images)
                told["index"] += each.answers[bundle].get("index", unknown)
        arrays = {
            name: np.array(values, np.float64 if name == "latency_ms" else np.int64)
            for name, values in told.items()
        }
        for name in ("block", "sitting", "start_s", "order"):
            arrays[f"round_{name}"] = np.array([getattr(each, name) for each in found])
        for name in ("other_cpu", "steal"):
            values = [each.conditions.get(name, 0.0) for each in found]
            arrays[f"round_{name}"] = np.array(values, np.float64)
        arrays["round_pace"] = self.paces()
        arrays["round_disturbed"] = disturbed.astype(np.int64)
        return arrays
