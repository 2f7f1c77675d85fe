"""Where the time of a network goes: the nodes that onnxruntime runs after its optimisations.

onnxruntime's profiler tells the time of every node in whole microseconds, and takes time itself.
So a session without profiler runs by turns with one that has it, and the times of nodes are shares
of a run rather than its parts.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

from trimtab_runtime.errors import EngineError
from trimtab_runtime.probe.clock import Reference, pin
from trimtab_runtime.probe.conditions import Conditions
from trimtab_runtime.probe.measure import spread, unsteady
from trimtab_runtime.probe.requests import LayersRequest
from trimtab_runtime.probe.sessions import NoiseSession, warm_up

Progress = Callable[[int, int], None]

#: Runs in a row, after one that does not count: it meets the caches that another session left.
_IN_A_ROW = 5
_WARMUP_S = 0.3
_SUFFIX = "_kernel_time"


@dataclass(frozen=True)
class Nodes:
    """What was run, in its order: names and operators as onnxruntime has them after its
    optimisations, the shape of the first output ("1x64x56x56"; empty where it is not told), and
    milliseconds (runs, nodes)."""

    names: list[str]
    operators: list[str]
    shapes: list[str]
    ms: np.ndarray[Any, Any]


def layers(request: LayersRequest, progress: Progress) -> dict[str, Any]:
    """Samples `plain_ms` and `profiled_ms` (runs,), of the whole without and with profiler, and
    `reference_ms`, milliseconds; to the request's file `name`, `operator`, `shape` (nodes,) and
    `ms` (runs, nodes), see Nodes.

    Raises EngineError, ModelError or InferenceError.
    """
    pin(request.options.threads)
    # Below the working folder, which is the asker's: it goes with it if this process is killed.
    with tempfile.TemporaryDirectory(prefix="layers-", dir=".") as folder:
        plain = NoiseSession(request.model, request.options, request.seed, request.size)
        profiled = NoiseSession(
            request.model,
            request.options,
            request.seed,
            request.size,
            profile=os.path.join(folder, "profile"),
        )
        warm_up(plain.run_ms, _WARMUP_S, lambda: progress(0, request.runs))
        turns = _Turns(plain, profiled, request.runs, progress)
        conditions = Conditions()
        conditions.start()
        turns.run(conditions)
        found = conditions.finish()
        nodes = read_profile(profiled.end_profile(), profiled.runs)
    np.savez(
        request.output,
        name=np.array(nodes.names),
        operator=np.array(nodes.operators),
        shape=np.array(nodes.shapes),
        ms=nodes.ms[turns.counted],
    )
    unsteadiness = spread(turns.reference_ms)
    return {
        "values": {"unsteadiness": unsteadiness, **found.values},
        "samples": {
            "plain_ms": turns.plain_ms,
            "profiled_ms": turns.profiled_ms,
            "reference_ms": turns.reference_ms,
        },
        "warnings": unsteady(unsteadiness, found.warnings),
    }


class _Turns:
    """Runs the two sessions by turns, a few times in a row each."""

    def __init__(
        self, plain: NoiseSession, profiled: NoiseSession, runs: int, progress: Progress
    ) -> None:
        self._plain, self._profiled, self._runs = plain, profiled, runs
        self._progress = progress
        self.plain_ms: list[float] = []
        self.profiled_ms: list[float] = []
        self.reference_ms: list[float] = []
        #: Numbers of the profiled session's runs that count.
        self.counted: list[int] = []

    def run(self, conditions: Conditions) -> None:
        reference = Reference()
        reference.run_ms()
        while len(self.plain_ms) < self._runs:
            conditions.sample()
            self.reference_ms.append(reference.run_ms())
            for session in (self._plain, self._profiled):
                self._in_a_row(session)

    def _in_a_row(self, session: NoiseSession) -> None:
        session.run_ms()
        times = self.plain_ms if session is self._plain else self.profiled_ms
        for _ in range(min(_IN_A_ROW, self._runs - len(times))):
            if session is self._profiled:
                self.counted.append(session.runs)
            times.append(session.run_ms())
            self._progress(len(self.profiled_ms), self._runs)


def read_profile(path: str, runs: int) -> Nodes:
    """The nodes in a profile of so many runs; those inside of others (the bodies of loops) count
    as these. Raises EngineError where a node is not there once a run."""
    with open(path, encoding="utf-8") as stream:
        events = json.load(stream)
    times: dict[tuple[str, str], list[float]] = {}
    first: dict[tuple[str, str], dict[str, Any]] = {}
    end = -1
    kernels = [e for e in events if e["cat"] == "Node" and e["name"].endswith(_SUFFIX)]
    for event in sorted(kernels, key=lambda e: (e["ts"], -e["dur"])):
        if event["ts"] + event["dur"] <= end and event["ts"] < end:
            continue
        end = event["ts"] + event["dur"]
        key = (event["name"], str(event["args"].get("node_index", "")))
        first.setdefault(key, event)
        times.setdefault(key, []).append(event["dur"] / 1e3)
    if not times or any(len(values) != runs for values in times.values()):
        counts = sorted({len(values) for values in times.values()})
        raise EngineError(
            f"onnxruntime's profile of {runs} runs tells of nodes that ran {counts} times; name "
            "fewer runs, or another version of onnxruntime"
        )
    args = [event["args"] for event in first.values()]
    return Nodes(
        [name[: -len(_SUFFIX)] for name, _ in first],
        [str(each.get("op_name", "")) for each in args],
        [_shape(each) for each in args],
        np.array(list(times.values()), np.float64).T,
    )


def _shape(args: dict[str, Any]) -> str:
    outputs: list[dict[str, list[int]]] = args.get("output_type_shape") or [{}]
    sides = next(iter(outputs[0].values()), [])
    return "x".join(map(str, sides))
