"""Bundles that take turns: what tells their speeds apart on a machine that is not always the same.

Noise lasts from milliseconds to minutes. Bundles that are measured one after the other, minutes
apart, each meet another machine; bundles that run block by block in turns meet the same one, and
their ratio is what stays. Each lives in a process of its own (resident.py), of which one works
and the others wait for a line on a pipe.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

import numpy as np

from trimtab_runtime.probe.conditions import OTHER_CPU, STEAL, read_text
from trimtab_runtime.probe.requests import PairedRequest
from trimtab_runtime.probe.resident_process import ResidentProcess, residents_of

Progress = Callable[[int, int], None]
Doubles = Any

#: A round in which bundles took this many times what they take in a quick one was disturbed.
SLOW = 1.15
#: Share of the blocks that must be known undisturbed.
ENOUGH = 0.5
#: Seconds at most between two signs of life.
_SIGN_S = 1.0
#: Share of the time that answering every image once may take: the rest is for repeated rounds.
_PLANNED = 0.5
_FIELDS = ("latency_ms", "entry", "stage", "tap", "by")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def paired(request: PairedRequest, progress: Progress) -> dict[str, Any]:
    """Write what happened to the request's file, in the order in which it did.

    Of every round (rounds,): `round_block` (repeated where it was disturbed), `round_sitting`,
    `round_start_s`, `round_other_cpu` (cores that other processes used), `round_steal`,
    `round_pace` (relative to a quick round) and `round_disturbed` (0 or 1), with `round_order`
    (rounds, bundles), the numbers of bundles as they ran. Of every answer (answers,): its number
    of a `round`, a `bundle` and an `image`, `latency_ms`, `entry`, `stage`, `tap` and `by`, and
    the `index` of the class (-1 from a bundle of an earlier version, which does not tell).

    Raises the error of a bundle that cannot be loaded or run.
    """
    begun, held = time.perf_counter(), _Rounds(request)
    for sitting in range(request.sittings):
        with residents_of(request, progress) as residents:
            if sitting == 0:
                held.plan([resident.image_ms for resident in residents])
                begun = time.perf_counter()
            share = len(held.blocks) / request.sittings
            blocks = held.blocks[round(sitting * share) : round((sitting + 1) * share)]
            ends = begun + request.max_seconds * (sitting + 1) / request.sittings
            _sit(residents, held, blocks, (sitting, begun, ends), progress)
    disturbed = held.disturbed()
    np.savez(request.output, **held.arrays(disturbed))
    unsure = _causes(held, disturbed)
    return {
        "values": {
            "rounds": float(len(held.found)),
            "disturbed": float(np.mean(disturbed)),
            "unsteadiness": float(np.std(held.paces())),
        },
        "samples": {},
        "warnings": unsure,
    }


@dataclass(frozen=True)
class _Round:
    """A block on every bundle. `answers` are by the number of the bundle."""

    block: int
    sitting: int
    start_s: float
    order: tuple[int, ...]
    images: tuple[int, ...]
    answers: dict[int, dict[str, Any]]
    other_cpu: float
    steal: float


class _Rounds:
    """What was found, and what is to be done."""

    def __init__(self, request: PairedRequest) -> None:
        self.request = request
        self._random = random.Random(request.seed)  # an order, no secret
        self.found: list[_Round] = []
        #: Of every block the spans of images, one for each part.
        self.blocks: list[list[tuple[int, int]]] = []

    def plan(self, image_ms: Sequence[float]) -> None:
        """Cut the parts into blocks: of all their images, or of as many as there is time for."""
        request = self.request
        needed_s = sum(image_ms) / 1e3 * len(request.images)
        share = min(1.0, _PLANNED * request.max_seconds / needed_s) if needed_s else 1.0
        edges = []
        for first, end in request.parts:
            count = max(min(request.rounds, end - first), int(share * (end - first)))
            edges.append(first + np.linspace(0, count, request.rounds + 1).astype(int))
        for number in range(request.rounds):
            spans = [(int(edge[number]), int(edge[number + 1])) for edge in edges]
            filled = [span for span in spans if span[0] < span[1]]
            self.blocks += [filled] if filled else []

    def order(self) -> tuple[int, ...]:
        """The bundles, shuffled."""
        numbers = list(range(len(self.request.bundles)))
        self._random.shuffle(numbers)
        return tuple(numbers)

    def number_of(self, block: Sequence[tuple[int, int]]) -> int:
        return next(n for n, spans in enumerate(self.blocks) if spans is block)

    def paces(self) -> Doubles:
        """How long each round took, (rounds,), relative to a quick one: the lower median over
        bundles, for what one bundle alone does is no noise; each answer relative to quick ones of
        the same bundle that took the same way through it, for harder images are no noise either.
        Only images of the first part count, on which plans are decided: no other may say which
        rounds that is done by.
        """
        bundles = range(len(self.request.bundles))
        paces = np.stack([self._paces_of(number) for number in bundles], axis=1)
        return np.percentile(paces, 50, axis=1, method="lower")

    def _paces_of(self, bundle: int) -> Doubles:
        end = self.request.parts[0][1]
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
        """Which rounds were, (rounds,): others used the processor, or all were slow."""
        busy = [found.other_cpu > OTHER_CPU or found.steal > STEAL for found in self.found]
        return np.array(busy, bool) | (self.paces() > SLOW)

    def to_repeat(
        self, blocks: Sequence[list[tuple[int, int]]], rounds: int, begun: float, ends: float
    ) -> list[list[tuple[int, int]]]:
        """Those of the blocks that ran, and never undisturbed, the one that waited longest first;
        none after `rounds` enough, when time is over, or where no round was undisturbed for half
        the time that there is."""
        now = time.perf_counter()
        if not self.found or now > ends or rounds >= self.request.visits * len(blocks):
            return []
        disturbed = self.disturbed()
        quiet = [each.start_s for each, bad in zip(self.found, disturbed) if not bad]
        if now - begun - max(quiet, default=0.0) > self.request.max_seconds / 2:
            return []
        last = {each.block: number for number, each in enumerate(self.found)}
        well = {each.block for each, bad in zip(self.found, disturbed) if not bad}
        numbers = {self.number_of(block) for block in blocks}
        again = sorted((last[n], n) for n in numbers if n in last and n not in well)
        return [self.blocks[number] for _, number in again]

    def arrays(self, disturbed: Any) -> dict[str, Any]:
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
        for name in ("block", "sitting", "start_s", "other_cpu", "steal", "order"):
            arrays[f"round_{name}"] = np.array([getattr(each, name) for each in found])
        arrays["round_pace"] = self.paces()
        arrays["round_disturbed"] = disturbed.astype(np.int64)
        return arrays


def _sit(
    residents: Sequence[ResidentProcess],
    held: _Rounds,
    blocks: Sequence[list[tuple[int, int]]],
    when: tuple[int, float, float],
    progress: Progress,
) -> None:
    """Run each of some blocks, spread over time, and the disturbed ones once more while there is
    time."""
    sitting, begun, ends = when
    request, planned, first = held.request, [*blocks], len(held.found)
    pause_s = request.spread_seconds / len(held.blocks)
    while True:
        progress(min(len(held.found), request.rounds - 1), request.rounds)
        now = time.perf_counter()
        if len(held.found) > first and now > ends + request.max_seconds:
            return  # much slower than it was when this was planned
        due = begun + pause_s * held.number_of(planned[0]) if planned else now
        if planned and now >= due:
            block = planned.pop(0)
        elif again := held.to_repeat(blocks, len(held.found) - first, begun, ends):
            block = again[0]
        elif planned:
            time.sleep(min(_SIGN_S, max(0.0, due - now)))
            continue
        else:
            return
        held.found.append(_round(residents, held, block, sitting, now - begun))


def _round(
    residents: Sequence[ResidentProcess],
    held: _Rounds,
    block: list[tuple[int, int]],
    sitting: int,
    start_s: float,
) -> _Round:
    """One block on every bundle."""
    order, answers = held.order(), {}
    before, own_s = _Processor.now(), 0.0
    for number in order:
        answers[number] = residents[number].ask(block)
        own_s += answers[number].pop("cpu_s")
    other_cpu, steal = _Processor.now().since(before, own_s)
    images = tuple(image for first, end in block for image in range(first, end))
    number = held.number_of(block)
    return _Round(number, sitting, start_s, order, images, answers, other_cpu, steal)


@dataclass(frozen=True)
class _Processor:
    """What the kernel counts, in seconds; nothing where it does not tell."""

    at: float
    busy_s: Optional[float]
    steal_s: float
    total_s: float

    @classmethod
    def now(cls) -> _Processor:
        words = read_text("/proc/stat").split("\n", 1)[0].split()
        if len(words) < 9 or words[0] != "cpu":
            return cls(time.perf_counter(), None, 0.0, 0.0)
        ticks = [int(word) / _TICKS_PER_S for word in words[1:9]]
        busy_s = sum(ticks[:3]) + sum(ticks[5:7])
        return cls(time.perf_counter(), busy_s, ticks[7], sum(ticks))

    def since(self, before: _Processor, own_s: float) -> tuple[float, float]:
        """Cores that others used, and the share of time that the host took. The kernel counts in
        steps of 10 ms: what two of them explain is nothing."""
        elapsed = self.at - before.at
        if self.busy_s is None or before.busy_s is None or elapsed <= 0:
            return 0.0, 0.0
        other_s = max(0.0, self.busy_s - before.busy_s - own_s - 2 / _TICKS_PER_S)
        steal_s = max(0.0, self.steal_s - before.steal_s - 2 / _TICKS_PER_S)
        total_s = self.total_s - before.total_s
        return other_s / elapsed, steal_s / total_s if total_s > 0 else 0.0


def _causes(held: _Rounds, disturbed: Any) -> list[str]:
    """Why too few blocks are known undisturbed; nothing where enough are."""
    well = {each.block for each, bad in zip(held.found, disturbed) if not bad}
    if len(well) >= ENOUGH * len(held.blocks):
        return []
    count, total = int(disturbed.sum()), len(held.found)
    other = max(each.other_cpu for each in held.found)
    steal = max(each.steal for each in held.found)
    said = [f"{count} of {total} rounds were disturbed"]
    if other > OTHER_CPU:
        said.append(f"other processes used up to {other:.1f} cores")
    if steal > STEAL:
        said.append(f"the host took up to {steal:.0%} of the time")
    pace = float(held.paces().max())
    if pace > SLOW:
        said.append(f"the slowest round took {pace:.1f} times as long as a quick one")
    return [f"{'; '.join(said)}. Stop other processes, or measure when the device is idle"]
