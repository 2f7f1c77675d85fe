"""This machine as the device."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import trimtab_runtime
from trimtab.profilers.device import Device, ProbeResult, Progress
from trimtab.profilers.kind import DeviceKind
from trimtab.profilers.probe_process import (
    ARGUMENTS,
    THREADS,
    Lines,
    ProbeDied,
    ProbeStalled,
    follow,
    read_result,
    request_text,
)
from trimtab_runtime.errors import DeviceError


class LocalDevice(Device):
    """Requests run as child processes of this one, with this Python."""

    address = "local"

    def __init__(self, python: str = sys.executable, stall_s: float = 120.0) -> None:
        self._python, self._stall_s = python, stall_s

    def put(self, path: Path) -> str:
        return str(path.resolve())

    def machine(self) -> str:
        with suppress(OSError):
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return ""

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
            text = request_text(request, str(scratch / "arrays.npz"))
            (scratch / "request.json").write_text(text, encoding="utf-8")
            runtime = bundle or str(Path(trimtab_runtime.__file__).parent.parent)
            self._run(scratch, runtime, stall_s or self._stall_s, progress)
            return read_result(scratch)

    def _run(self, scratch: Path, runtime: str, stall_s: float, progress: Progress | None) -> None:
        with (scratch / "stderr").open("wb") as stderr:
            try:
                process = subprocess.Popen(
                    [self._python, *ARGUMENTS],
                    cwd=scratch,
                    env={**os.environ, **THREADS, "PYTHONPATH": runtime},
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
            printed = (scratch / "stderr").read_text(encoding="utf-8", errors="replace")
            raise ProbeDied(process.returncode, printed)


class LocalKind(DeviceKind):
    scheme = form = LocalDevice.address

    def has(self, address: str) -> bool:
        return address == self.scheme

    def label(self, address: str) -> str:
        return address

    def open(self, address: str, stall_s: float, settings: Mapping[str, Any]) -> Device:
        return LocalDevice(stall_s=stall_s)


def _follow(process: subprocess.Popen[bytes], stall_s: float, progress: Progress | None) -> None:
    """Pass progress lines on until the process ends; DeviceError when it falls silent."""
    assert process.stdout is not None
    lines: Lines = queue.Queue()
    threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True).start()
    follow(lines, stall_s, progress)
    try:
        process.wait(timeout=stall_s)
    except subprocess.TimeoutExpired:
        raise ProbeStalled(f"the probe did not end within {stall_s:.0f} s") from None


def _read_lines(stream: IO[bytes], lines: Lines) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)
