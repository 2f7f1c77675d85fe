"""Two bundles in turns, sitting by sitting, until it is clear whether the new one is slower."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.planner.gate.judgement import SlowerTest, typical_ms
from trimtab.planner.jobs.journal import Journal
from trimtab.profilers import Device
from trimtab_runtime.probe.requests import PairedRequest, TurnSettings

#: Looks at what was found, and sittings before each.
LOOKS, SITTINGS = 3, 3
#: Rounds of a sitting, and milliseconds that a block of images takes at least.
_ROUNDS, _BLOCK_MS = 12, 20.0
#: Images of a block, at least and at most.
_BLOCK = (4, 64)
#: Seconds between two looks at most, and seconds a look of slow models takes as planned.
_MOST_S = 60.0
_SETTINGS = TurnSettings(
    rounds=_ROUNDS * SITTINGS,
    sittings=SITTINGS,
    spread_seconds=0.0,
    max_seconds=_MOST_S,
    visits=1,
)


@dataclass(frozen=True)
class Turns:
    """What two bundles did: of every sitting the logarithm of how many times as long the new one
    took, the typical milliseconds of the shipped one, and whether the machine was disturbed."""

    logs: tuple[float, ...]
    shipped_ms: float
    warnings: tuple[str, ...]


def take_turns(
    device: Device,
    bundles: tuple[Path, Path],
    images: Sequence[Path],
    about_ms: float,
    test: SlowerTest,
    journal: Journal,
    pythons: tuple[str, ...] = (),
) -> Turns:
    """Let the shipped bundle and the new one (of which one takes `about_ms`) answer the same
    images in turns; a sitting has new processes, of `pythons` where these are given."""
    least, most = _BLOCK
    block = min(most, max(least, math.ceil(_BLOCK_MS / max(about_ms, 1e-3))))
    wanted = _ROUNDS * SITTINGS * block
    shown = [images[number % len(images)] for number in range(wanted)]
    placed = tuple(device.put(path) for path in shown)
    paths = tuple(device.put(bundle) for bundle in bundles)
    logs: list[float] = []
    shipped_ms: list[float] = []
    warnings: dict[str, None] = {}
    for look in range(test.looks):
        journal.step("turns", f"look {look + 1}", look, test.looks)
        request = PairedRequest(
            bundles=paths,
            images=placed,
            starts=tuple(range(0, wanted, len(images))),  # again is no memory of before
            output="",
            settings=_SETTINGS,
            seed=look,
            pythons=pythons,
        )
        found = device.probe(request, progress=lambda done, total: journal.alive())
        warnings.update(dict.fromkeys(map(str, found.warnings)))
        for shipped, new in _sittings(found.arrays):
            logs.append(math.log(new / shipped))
            shipped_ms.append(shipped)
        if test.decided(logs):
            break
    journal.step("turns", "", test.looks, test.looks)
    return Turns(tuple(logs), float(np.median(shipped_ms)), tuple(warnings))


def _sittings(arrays: Mapping[str, NDArray[Any]]) -> list[tuple[float, float]]:
    """Of every sitting what both bundles typically took, in ms."""
    ways = np.stack([arrays[name] for name in ("entry", "stage", "tap", "by")], axis=1)
    sitting = arrays["round_sitting"][arrays["round"]]
    found = []
    for number in np.unique(sitting):
        shipped, new = ((sitting == number) & (arrays["bundle"] == bundle) for bundle in (0, 1))
        latency_ms = arrays["latency_ms"]
        found.append(
            (
                typical_ms(latency_ms[shipped], ways[shipped]),
                typical_ms(latency_ms[new], ways[new]),
            )
        )
    return found
