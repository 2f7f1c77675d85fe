"""Two devices that are this machine in disguise: one slower than the other, with names of their
own, so that jobs on several devices can be recorded and replayed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from killing import SETTINGS, small_job

from trimtab.db import JobRecord, Store
from trimtab.planner.jobs.journal import ProgressListener
from trimtab.planner.pipeline.job import plan
from trimtab.profilers import (
    Device,
    InProcessDevice,
    ProbeResult,
    RecordedDevice,
    RecordingDevice,
    RecordOrReplayDevice,
    SteadyDevice,
)
from trimtab.profilers.recording_file import Recording

#: How many times slower than this machine they are.
SLOWNESS = {"board": 3.0, "box": 1.0}


class Wrapped(Device):
    """Passes everything on to another device."""

    def __init__(self, device: Device) -> None:
        self.device, self.address = device, device.address

    def put(self, path: Path) -> str:
        return self.device.put(path)

    def machine(self) -> str:
        return self.device.machine()

    def probe(self, request: Any, **how: Any) -> ProbeResult:
        return self.device.probe(request, **how)


class Disguised(Wrapped):
    """A device of another name (in the place of its CPU's), so many times slower."""

    def __init__(self, device: Device, name: str) -> None:
        super().__init__(device)
        self.address, self._name, self._slowness = f"disguised-{name}", name, SLOWNESS[name]

    def machine(self) -> str:
        return self._name

    def probe(self, request: Any, **how: Any) -> ProbeResult:
        found = super().probe(request, **how)
        samples = {name: self._slowed(name, times) for name, times in found.samples.items()}
        arrays = {name: self._slowed(name, times) for name, times in found.arrays.items()}
        known = {**found.fingerprint, "cpu": self._name} if found.fingerprint else {}
        return dataclasses.replace(found, samples=samples, arrays=arrays, fingerprint=known)

    def _slowed(self, name: str, times: Any) -> Any:
        if not name.endswith("_ms") or name in ("reference_ms", "parallel_ms"):
            return times
        return (
            [time * self._slowness for time in times]
            if isinstance(times, list)
            else (times * self._slowness)
        )


def two_devices(folder: Path) -> dict[str, Any]:
    """The specification of a small job on both, as recordings in `folder`."""
    devices = [{"address": f"recorded:{folder / name}.jsonl", "name": name} for name in SLOWNESS]
    return small_job(folder) | {
        "name": "two",
        "devices": devices,
        "across": "worst",
        "techniques": {"quantisation": []},
        "budget": {"measurements": 2},
        "together": 2,
        "verify": 1,
    }


def record_both(spec: Mapping[str, Any], store: Store, folder: Path) -> JobRecord:
    """Run the job, and leave what the devices answered in its recordings."""
    given = {
        name: RecordingDevice(
            Disguised(
                RecordOrReplayDevice(SteadyDevice(InProcessDevice()), folder / "truth.jsonl"), name
            ),
            folder / f"{name}.jsonl",
        )
        for name in SLOWNESS
    }
    record = plan(spec, store, settings=SETTINGS, device=given, setup="ignored")
    _share_traces([folder / f"{name}.jsonl" for name in SLOWNESS])
    return record


def _share_traces(recordings: Sequence[Path]) -> None:
    """Give every recording the traces of all: of like processors one traces for both, and which
    one does is chance."""
    traces = {
        entry["key"]: line
        for file in recordings
        for line in file.read_text().splitlines()
        if (entry := json.loads(line))["kind"] == "trace"
    }
    for file in recordings:
        known = Recording(file)
        with file.open("a") as stream:
            stream.writelines(f"{line}\n" for key, line in traces.items() if not known.entry(key))


def replayed(folder: Path, logs: Path | None = None) -> dict[str, Device]:
    """The recorded devices; with logs of what they are asked."""
    return {
        name: RecordedDevice(folder / f"{name}.jsonl", logs / name if logs else None)
        for name in SLOWNESS
    }


def run_both(
    spec: Mapping[str, Any],
    store: Store,
    devices: Mapping[str, Device],
    watcher: ProgressListener | None = None,
) -> JobRecord:
    """Run the job, or go on with it."""
    return plan(spec, store, watcher, SETTINGS, devices, setup="ignored")
