"""Devices for tests, of Trimtab and of what is built on it.

    device = RecordOrReplayDevice(LocalDevice(), Path("line.jsonl"))
    trimtab.plan(spec, store, device=device)

measures what no run before measured, and answers the rest from the file: of several jobs over the
same models and images, in any number of processes, the first measures and the others read.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from filelock import FileLock
from threadpoolctl import threadpool_limits

from trimtab.profilers.device import Device, ProbeResult, Progress
from trimtab.profilers.local import LocalDevice
from trimtab.profilers.probe_answer import read_result
from trimtab.profilers.probe_process import request_text
from trimtab.profilers.recorded import RecordingDevice, replayed
from trimtab.profilers.recording_file import Recording, cut_torn_line
from trimtab_runtime.errors import ModelError, TrimtabError
from trimtab_runtime.probe.dispatch import result_of


class RecordOrReplayDevice(RecordingDevice):
    """Asks another device the first time that a request comes, and answers from the file then.

    A request has one answer (which may be an error of the tree), in all processes and threads that
    share the file: where several ask at the same time, what is written first counts. It is the
    same request where models and images have the same content, wherever they lie. `file` is made
    where there is none; beside it lies its lock.
    """

    def __init__(self, device: Device, file: Path) -> None:
        self._lock = FileLock(f"{file}.lock")
        with self._lock:
            file.touch()
            super().__init__(device, file)
        self._recording = Recording(file)

    def probe(
        self,
        request: Any,
        *,
        stall_s: float | None = None,
        progress: Progress | None = None,
        bundle: str | None = None,
    ) -> ProbeResult:
        key = self._contents.key(request, bundle)
        entry = self._recorded(key)
        if entry is not None:
            return replayed(entry, progress)
        try:
            super().probe(request, stall_s=stall_s, progress=progress, bundle=bundle)
        except TrimtabError:
            if self._recorded(key) is None:  # a lost device gave no answer
                raise
        entry = self._recorded(key)
        assert entry is not None
        return replayed(entry, None)

    @property
    def measures(self) -> bool:
        return False

    def _recorded(self, key: str) -> dict[str, Any] | None:
        self._recording.read_on()
        return self._recording.entry(key)

    def _keep(self, entry: dict[str, Any]) -> None:
        with self._lock:
            if self._recorded(entry["key"]) is None:
                cut_torn_line(self._file)
                super()._keep(entry)


class InProcessDevice(LocalDevice):
    """This machine, and in it this process, as the device: what answers is what a probe runs,
    without a process to start.

    It has none of the isolation of other devices, so use it for models that are known to behave:
    one that hangs or crashes takes the caller with it, and `stall_s` has no effect. Memory is that
    of this whole process, times are those of a process that does other things too, and a bundle
    runs with the trimtab_runtime of this process instead of its own.
    """

    def probe(
        self,
        request: Any,
        *,
        stall_s: float | None = None,
        progress: Progress | None = None,
        bundle: str | None = None,
    ) -> ProbeResult:
        with tempfile.TemporaryDirectory(prefix="trimtab-probe-") as folder:
            scratch = Path(folder)
            encoded = json.loads(request_text(request, str(scratch / "arrays.npz")))
            with _cores_as_before(), threadpool_limits(1, "blas"):  # as in a probe
                result = result_of(encoded, progress or _nobody)
            values = result.get("values", {})  # what this process gave back meanwhile is no memory
            values.update({n: max(0.0, v) for n, v in values.items() if n.endswith("_mb")})
            (scratch / "result.json").write_text(json.dumps(result), encoding="utf-8")
            return read_result(scratch, request)


class OlderEngineDevice(InProcessDevice):
    """This process as a device whose onnxruntime, of some older `version`, takes no ONNX file
    beyond an intermediate representation and an opset: it refuses those that are put there, in
    onnxruntime's words."""

    def __init__(self, version: str, ir_version: int, opset: int) -> None:
        super().__init__()
        self._version, self._ir_version, self._opset = version, ir_version, opset

    def fingerprint(self) -> dict[str, str]:
        return {**super().fingerprint(), "onnxruntime": self._version}

    def put(self, path: Path) -> str:
        place = super().put(path)
        self._refuse_newer(path)
        return place

    def _refuse_newer(self, path: Path) -> None:
        if path.suffix != ".onnx":
            return
        model = onnx.load(str(path), load_external_data=False)
        opset = max(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
        if model.ir_version > self._ir_version:
            raise ModelError(
                f"{path.name}: onnxruntime cannot load it (Unsupported model IR version: "
                f"{model.ir_version}, max supported IR version: {self._ir_version})"
            )
        if opset > self._opset:
            raise ModelError(
                f"{path.name}: onnxruntime cannot load it (ONNX Runtime only *guarantees* support "
                f"for models stamped with official released onnx opset versions. Opset {opset} is "
                "under development and support for this is limited. Current official support for "
                f"domain ai.onnx is till opset {self._opset}.)"
            )


@contextmanager
def _cores_as_before() -> Iterator[None]:
    """Undo what a measurement does to this thread: it keeps to few cores."""
    if not hasattr(os, "sched_getaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _nobody(done: int, total: int) -> None:
    """Nobody follows the progress."""
