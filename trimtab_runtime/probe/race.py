"""Small files side by side: regions of a network, and what may stand in their place.

In every round the reference work runs, then each file once in an order drawn anew, so that drift
meets all alike and nobody always follows the same one. A file's weights have left the inner caches
since its last turn, as they have in a network, whose other layers ran in between; its input has
just been written. What the files compute does not count: noise goes in, and NaN may come out.
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from trimtab_runtime.probe.clock import Reference, pin
from trimtab_runtime.probe.conditions import Conditions
from trimtab_runtime.probe.measure import spread, unsteady
from trimtab_runtime.probe.requests import RaceRequest
from trimtab_runtime.probe.sessions import noise_session, warm_up


def race(request: RaceRequest, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Samples `{number}_ms` (rounds,) of the files in the request's order and `reference_ms`
    (rounds,), milliseconds, with `unsteadiness` and warnings as measure.py has them.

    All files stay loaded. Raises EngineError, ModelError or InferenceError, naming the file.
    """
    pin(request.options.threads)
    sessions = []
    for number, path in enumerate(request.files):
        session = noise_session(path, request.options, request.seed + number)
        warm_up(session.run_ms, request.warmup_seconds, lambda: progress(0, 1))
        sessions.append(session)
    orders = np.random.default_rng(request.seed)
    reference, conditions = Reference(), Conditions()
    reference.run_ms()
    times: list[float] = []
    samples: list[list[float]] = [[] for _ in sessions]
    conditions.start()
    for done in range(request.rounds):
        conditions.sample()
        times.append(reference.run_ms())
        for number in orders.permutation(len(sessions)):
            samples[number].append(sessions[number].run_ms())
        progress(done + 1, request.rounds)
    found = conditions.finish()
    unsteadiness = spread(times)
    return {
        "values": {"unsteadiness": unsteadiness, **found.values},
        "samples": {
            "reference_ms": times,
            **{f"{number}_ms": values for number, values in enumerate(samples)},
        },
        "warnings": unsteady(unsteadiness, found.warnings),
    }
