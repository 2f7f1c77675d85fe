"""Bundles in turns: groups that each contain the baseline, and what follows from how they did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.planner.jobs.journal import Journal
from trimtab.planner.selection.paired import PairedFigures
from trimtab.profilers import Device
from trimtab.search.estimates.paired_times import Known, PairedTimes, quiet_rounds
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.probe.requests import MeasureSettings, PairedRequest, TurnSettings
from trimtab_runtime.probe.rounds import ENOUGH

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Bundles that take turns in one go, the baseline among them.
MOST = 8
#: Share of the device's memory that these may take together.
MEMORY = 0.5
#: Images of test that bundles take turns on at most.
TESTED = 500
#: Share of the usual time below which a measurement is for a moment only.
_MOMENT = 0.25


def turn_settings(settings: MeasureSettings | None) -> TurnSettings:
    """In proportion to how long a candidate is measured; where that is for a moment only, a quick
    pass without repetitions."""
    usual = TurnSettings()
    scale = 1.0 if settings is None else settings.seconds / MeasureSettings().seconds
    if scale < _MOMENT:
        return TurnSettings(rounds=8, sittings=1, spread_seconds=0.0, visits=1)
    return replace(
        usual,
        spread_seconds=usual.spread_seconds * scale,
        max_seconds=usual.max_seconds * scale,
    )


@dataclass(frozen=True)
class Runner:
    """A plan that takes turns: its key, its bundle here, the memory it takes (infinity where that
    is not known, so that it takes turns with the baseline alone), and what it is expected to take
    for each image of tune and of test that its figures speak of (see PairedTimes)."""

    key: str
    label: str
    bundle: Path
    peak_mb: float
    expected_ms: Doubles


@dataclass(frozen=True)
class Stretch:
    """The images that bundles run over, files here, and how many of them are of `tune`; the rest
    is of `test`."""

    images: Sequence[Path]
    tune: int


def memory_mb(fingerprint: Mapping[str, str]) -> float | None:
    """The memory of a device; None where it does not tell."""
    told = fingerprint.get("memory_gb")
    return float(told) * 1024 if told else None


def groups(
    baseline: Runner, others: Sequence[Runner], memory_mb: float | None
) -> list[list[Runner]]:
    """The others in groups that fit into memory at once with the baseline, each with it in
    front."""
    room = float("inf") if memory_mb is None else MEMORY * memory_mb
    found: list[list[Runner]] = []
    for runner in others:
        last = found[-1] if found else None
        used = sum(each.peak_mb for each in last or ())
        if last is None or len(last) >= MOST or used + runner.peak_mb > room:
            found.append([baseline])
        found[-1].append(runner)
    return found


def run_turns(
    device: Device,
    group: Sequence[Runner],
    stretch: Stretch,
    settings: TurnSettings,
    journal: Journal,
) -> Mapping[str, NDArray[Any]]:
    """What a device tells of bundles in turns (trimtab_runtime.probe.paired). Raises the error of
    the probe."""

    def progress(done: int, total: int) -> None:
        journal.step("turns", f"{len(group)} plans", done, total)

    request = PairedRequest(
        bundles=tuple(device.put(runner.bundle) for runner in group),
        images=tuple(device.put(path) for path in stretch.images),
        starts=(0, stretch.tune) if stretch.tune < len(stretch.images) else (0,),
        output="",
        settings=settings,
    )
    found = device.probe(request, progress=progress)
    journal.step("turns", "", 1, 1)
    return {**found.arrays, "warnings": np.array(found.warnings, dtype=np.str_)}


def figures(
    arrays: Mapping[str, NDArray[Any]],
    expected_ms: Mapping[str, Doubles],
    edge: int,
    clock_ms: Mapping[str, Known] | None = None,
) -> dict[str, PairedFigures]:
    """Speeds by the keys of plans, of which the first is the baseline. They speak of all images
    that `expected_ms` (images,) is told of, whichever of them ran; those before the `edge` are of
    tune. `clock_ms` is the baseline's latency by split where it is known from other turns: what it
    takes in these is scaled to that. Raises PlanningError where too few ran."""
    used, keys = quiet_rounds(arrays, ENOUGH), list(expected_ms)
    expected, splits = np.stack(list(expected_ms.values())), ("tune", "test")
    parts = dict(zip(splits, np.split(np.arange(expected.shape[1]), [edge]), strict=True))
    every = {split: _times(arrays, used, expected, part) for split, part in parts.items()}
    times = {split: told for split, told in every.items() if told is not None}
    warnings, found = tuple(map(str, arrays["warnings"])), {}
    for number, key in enumerate(keys):
        factors = {
            split: clock_ms[split].value / told.mean_ms(0).value if clock_ms else 1.0
            for split, told in times.items()
        }
        found[key] = PairedFigures(
            keys[0],
            {split: told.ratio(number, 0, again=True) for split, told in times.items()},
            {
                split: told.mean_ms(number, again=True).times(factors[split])
                for split, told in times.items()
            },
            {
                other: times["tune"].ratio(number, place)
                for place, other in enumerate(keys)
                if place != number
            },
            len(used),
            tuple(range(edge)),
            warnings,
        )
    return found


def _times(
    arrays: Mapping[str, NDArray[Any]], used: Sequence[int], expected: Doubles, part: Ints
) -> PairedTimes | None:
    """What plans took in some rounds for the images of a `part`; None where none of these ran.
    `expected` (plans, images) are milliseconds of all images. Raises PlanningError."""
    here = np.isin(arrays["round"], used) & np.isin(arrays["image"], part)
    rows = [np.flatnonzero(here & (arrays["bundle"] == plan)) for plan in range(len(expected))]
    if not len(rows[0]):
        return None
    if len(rows[0]) == 1:
        raise PlanningError("turns on a single image of a split do not tell their error")
    image, number = arrays["image"][rows[0]], arrays["round"][rows[0]]
    return PairedTimes(
        np.stack([arrays["latency_ms"][own] for own in rows]),
        expected[:, image],
        expected[:, part].mean(1),
        arrays["round_sitting"][number],
        number,
    )


def samples_of(arrays: Mapping[str, NDArray[Any]], plan: int) -> dict[str, list[float]]:
    """The raw answers of one plan and of the baseline (plan 0) in the same rounds, in the order in
    which they were given; `turn_*` are of the rounds, one by one."""
    found = {}
    for name, number in (("own", plan), ("baseline", 0)):
        of = arrays["bundle"] == number
        found[f"turns_{name}_ms"] = arrays["latency_ms"][of].tolist()
    of = arrays["bundle"] == plan
    found["turns_round"] = arrays["round"][of].astype(float).tolist()
    found["turns_image"] = arrays["image"][of].astype(float).tolist()
    if "index" in arrays and not np.any(arrays["index"][of] < 0):
        found["turns_index"] = arrays["index"][of].astype(float).tolist()
        found["turns_stage"] = arrays["stage"][of].astype(float).tolist()
    for name in ("block", "sitting", "start_s", "other_cpu", "steal", "pace", "disturbed"):
        found[f"turn_{name}"] = arrays[f"round_{name}"].astype(float).tolist()
    order = arrays["round_order"]
    found["turn_place"] = np.argmax(order == plan, axis=1).astype(float).tolist()
    found["turn_baseline_place"] = np.argmax(order == 0, axis=1).astype(float).tolist()
    return found
