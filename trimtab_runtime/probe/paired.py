"""Bundles that take turns: what tells their speeds apart on a machine that is not always the same.

Noise lasts from milliseconds to minutes. Bundles that are measured one after the other, minutes
apart, each meet another machine; bundles that run block by block in turns meet the same one, and
their ratio is what stays. Each lives in a process of its own (resident.py), of which one works
and the others wait for a line on a pipe. What one process takes another of the same file does not
take to the percent, so there are several sittings, each with processes of its own.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any, Callable, Optional

import numpy as np

from trimtab_runtime.probe.conditions import Conditions
from trimtab_runtime.probe.requests import PairedRequest
from trimtab_runtime.probe.resident_process import ResidentProcess, residents_of
from trimtab_runtime.probe.rounds import Round, Rounds

Progress = Callable[[int, int], None]

#: Seconds at most between two signs of life.
_SIGN_S = 1.0


def paired(
    request: PairedRequest, progress: Progress, conditions: Optional[Conditions] = None
) -> dict[str, Any]:
    """Write what happened to the request's file, in the order in which it did. `conditions` say
    what else the machine does.

    Of every round (rounds,): `round_block` (repeated where it was disturbed), `round_sitting`,
    `round_start_s`, `round_other_cpu` (cores that other processes used), `round_steal`,
    `round_pace` (relative to a quick round) and `round_disturbed` (0 or 1), with `round_order`
    (rounds, bundles), the numbers of bundles as they ran. Of every answer (answers,): its number
    of a `round`, a `bundle` and an `image`, `latency_ms`, `entry`, `stage`, `tap` and `by`, and
    the `index` of the class (-1 from a bundle of an earlier version, which does not tell).

    Raises the error of a bundle that cannot be loaded or run.
    """
    held, watch = Rounds(request), conditions or Conditions(brief=True)
    for sitting in itertools.count():
        started = time.perf_counter()
        if sitting and not held.wanted(sitting, started):
            break
        with residents_of(request, progress) as residents:
            if sitting == 0:
                held.plan(residents, time.perf_counter() - started)
            _sit(residents, held, sitting, watch, progress)
    disturbed = held.disturbed()
    np.savez(request.output, **held.arrays(disturbed))
    return {
        "values": {
            "rounds": float(len(held.found)),
            "disturbed": float(np.mean(disturbed)),
            "unsteadiness": float(np.std(held.paces())),
        },
        "samples": {},
        "warnings": held.causes(disturbed),
    }


def _sit(
    residents: Sequence[ResidentProcess],
    held: Rounds,
    sitting: int,
    watch: Conditions,
    progress: Progress,
) -> None:
    """Run the blocks of a sitting when they are due, and meanwhile disturbed ones once more; in a
    sitting beyond the planned ones, a share of those."""
    planned, ran = held.planned(sitting), 0
    while not held.late(time.perf_counter()):
        progress(min(len(held.found), held.settings.rounds - 1), held.settings.rounds)
        now = time.perf_counter()
        due = held.due(planned[0]) if planned else now
        if planned and now >= due:
            block = planned.pop(0)
        elif (again := held.to_repeat(now)) and (planned or held.may_repeat(sitting, ran)):
            block = again[0]
        elif planned:
            time.sleep(min(_SIGN_S, max(0.0, due - now)))
            continue
        else:
            return
        held.found.append(_round(residents, held, block, sitting, watch))
        ran += 1


def _round(
    residents: Sequence[ResidentProcess],
    held: Rounds,
    block: int,
    sitting: int,
    watch: Conditions,
) -> Round:
    """One block on every bundle."""
    order, spans, answers = held.order(), held.blocks[block], {}
    start_s, own_s = time.perf_counter() - held.begun, 0.0
    watch.start()
    for number in order:
        answers[number] = residents[number].ask(spans)
        own_s += answers[number].pop("cpu_s")
    found = watch.finish(own_s)
    images = tuple(image for first, end in spans for image in range(first, end))
    return Round(block, sitting, start_s, order, images, answers, found.values)
