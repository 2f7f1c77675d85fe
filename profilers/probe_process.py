"""The process of a probe: how it is started, followed and read, wherever it runs."""

from __future__ import annotations

import dataclasses
import json
import queue
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.profilers.device import ProbeResult, Progress, probe_error
from trimtab_runtime.codec import encode
from trimtab_runtime.errors import DeviceError
from trimtab_runtime.probe.requests import kind_of

#: Arguments of the interpreter, in the folder that holds the request.
ARGUMENTS = ("-m", "trimtab_runtime.probe", "request.json", "result.json", "watched")
#: NumPy's own threads would disturb what is measured.
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_TAIL = 600

#: Lines of a probe's standard output; None is its end.
Lines = queue.Queue[bytes | None]


class ProbeStalled(DeviceError):
    """A probe gave no sign of life."""


class ProbeDied(DeviceError):
    """A probe ended without an answer. `status` is negative for a signal."""

    def __init__(self, status: int, printed: str = "") -> None:
        self.status = status
        tail = printed.strip()[-_TAIL:]
        super().__init__(_death(status) + (f": {tail}" if tail else ""))


def _death(status: int) -> str:
    if status == -9:
        return (
            "the probe was killed, most likely because memory ran out; take a smaller model or "
            "input size, or free memory"
        )
    if status < 0:
        return f"the probe died of signal {-status}"
    return f"the probe ended with status {status}"


def request_text(request: Any, output: str) -> str:
    """A request as the probe reads it; arrays go to `output`, a path on the device."""
    if hasattr(request, "output"):
        request = dataclasses.replace(request, output=output)
    return json.dumps({"kind": kind_of(request), **encode(request)})


def follow(lines: Lines, stall_s: float, progress: Progress | None) -> None:
    """Pass progress on until the output ends; ProbeStalled when it falls silent."""
    while True:
        try:
            line = lines.get(timeout=stall_s)
        except queue.Empty:
            raise ProbeStalled(f"the probe gave no sign of life for {stall_s:.0f} s") from None
        if line is None:
            return
        if progress is not None and line.startswith(b"{"):
            step = json.loads(line)
            progress(step["done"], step["total"])


def read_result(folder: Path) -> ProbeResult:
    """What a probe wrote into its folder. Raises the error that it tells."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    if result["status"] != "ok":
        raise probe_error(result["error"], result["reason"])
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    if (folder / "arrays.npz").exists():
        with np.load(folder / "arrays.npz", allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    return ProbeResult(
        values=result["values"],
        samples=result["samples"],
        warnings=result["warnings"],
        fingerprint=result.get("fingerprint", {}),
        arrays=arrays,
        details=result.get("details", {}),
    )
