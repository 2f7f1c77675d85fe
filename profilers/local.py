"""This machine as the device."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

import numpy as np

import trimtab_runtime
from profilers.device import Device, ProbeResult, Progress, probe_error
from trimtab_runtime.codec import encode
from trimtab_runtime.errors import DeviceError
from trimtab_runtime.probe.requests import kind_of

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class LocalDevice(Device):
    """Requests run as child processes of this one, with this Python."""

    address = "local"

    def __init__(self, python: str = sys.executable, stall_s: float = 120.0) -> None:
        self._python, self._stall_s = python, stall_s

    def put(self, path: Path) -> str:
        return str(path.resolve())

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
            if hasattr(request, "output"):
                request = dataclasses.replace(request, output=str(scratch / "arrays.npz"))
            text = json.dumps({"kind": kind_of(request), **encode(request)})
            (scratch / "request.json").write_text(text, encoding="utf-8")
            runtime = bundle or str(Path(trimtab_runtime.__file__).parent.parent)
            self._run(scratch, runtime, stall_s or self._stall_s, progress)
            return _read_result(scratch)

    def _run(self, scratch: Path, runtime: str, stall_s: float, progress: Progress | None) -> None:
        module = [self._python, "-m", "trimtab_runtime.probe"]
        command = [*module, "request.json", "result.json", "watched"]
        threads = dict.fromkeys(_THREAD_VARIABLES, "1")
        with (scratch / "stderr").open("wb") as stderr:
            try:
                process = subprocess.Popen(
                    command,
                    cwd=scratch,
                    env={**os.environ, **threads, "PYTHONPATH": runtime},
                    stdin=subprocess.PIPE,  # nothing is written: it closes when this process dies
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                )
            except OSError as error:
                raise DeviceError(f"the probe cannot be started: {error}") from error
            try:
                _follow(process, stall_s, progress)
            finally:
                process.kill()
                process.wait()
                assert process.stdin is not None
                process.stdin.close()
        if process.returncode != 0:
            tail = (scratch / "stderr").read_text(encoding="utf-8", errors="replace")[-600:]
            raise DeviceError(_death(process.returncode) + (f": {tail.strip()}" if tail else ""))


def _death(status: int) -> str:
    if status == -9:
        return (
            "the probe was killed, most likely because memory ran out; take a smaller model or "
            "input size, or free memory"
        )
    if status < 0:
        return f"the probe died of signal {-status}"
    return f"the probe ended with status {status}"


def _follow(process: subprocess.Popen[bytes], stall_s: float, progress: Progress | None) -> None:
    """Pass progress lines on until the process ends; DeviceError when it falls silent."""
    assert process.stdout is not None
    lines: queue.Queue[bytes | None] = queue.Queue()
    threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=stall_s)
        except queue.Empty:
            raise DeviceError(f"the probe gave no sign of life for {stall_s:.0f} s") from None
        if line is None:
            break
        if progress is not None and line.startswith(b"{"):
            step = json.loads(line)
            progress(step["done"], step["total"])
    try:
        process.wait(timeout=stall_s)
    except subprocess.TimeoutExpired:
        raise DeviceError(f"the probe did not end within {stall_s:.0f} s") from None


def _read_lines(stream: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _read_result(scratch: Path) -> ProbeResult:
    result = json.loads((scratch / "result.json").read_text(encoding="utf-8"))
    if result["status"] != "ok":
        raise probe_error(result["error"], result["reason"])
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    if (scratch / "arrays.npz").exists():
        with np.load(scratch / "arrays.npz", allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    return ProbeResult(
        values=result["values"],
        samples=result["samples"],
        warnings=result["warnings"],
        fingerprint=result.get("fingerprint", {}),
        arrays=arrays,
        details=result.get("details", {}),
    )
