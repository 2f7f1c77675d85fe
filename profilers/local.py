"""This machine as the device."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from trimtab.profilers.device import Device, ProbeResult, Progress
from trimtab.profilers.kind import DeviceKind
from trimtab.profilers.probe_answer import read_result
from trimtab.profilers.probe_process import (
    ARGUMENTS,
    LINE,
    THREADS,
    Lines,
    ProbeDied,
    ProbeStalled,
    follow,
    request_text,
    step_limit_s,
)
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import DeviceError
from trimtab_runtime.processes import end_group, runtime_place

_MACHINE_ID = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


class LocalDevice(Device):
    """Requests run as child processes of this one, by the interpreter `python`."""

    address = "local"

    def __init__(self, python: str = sys.executable, stall_s: float = 120.0) -> None:
        self.python, self._stall_s = python, stall_s

    def put(self, path: Path) -> str:
        return str(path.resolve())

    def machine(self) -> str:
        with suppress(OSError):
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return ""

    def identity(self) -> str:
        for file in _MACHINE_ID:
            with suppress(OSError):
                # Not itself: machine-id(5) asks that it be kept from strangers.
                return content_key(["trimtab", file.read_text(encoding="ascii").strip()])
        return platform.node()

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
            runtime = bundle or runtime_place(self.python, folder)
            stall_s = stall_s or self._stall_s
            self._run(scratch, runtime, stall_s, step_limit_s(request, stall_s), progress)
            return read_result(scratch, request)

    def _run(
        self,
        scratch: Path,
        runtime: str,
        stall_s: float,
        step_s: float,
        progress: Progress | None,
    ) -> None:
        try:
            process = subprocess.Popen(
                [self.python, *ARGUMENTS],
                cwd=scratch,
                env={**os.environ, **THREADS, "PYTHONPATH": runtime},
                stdin=subprocess.PIPE,  # nothing is written: it closes when this process dies
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
            )
        except OSError as error:
            raise DeviceError(f"the probe cannot be started: {error}") from error
        assert process.stdin is not None and process.stderr is not None
        printed = _End(process.stderr)
        try:
            _follow(process, stall_s, step_s, progress)
        finally:
            end_group(process)
            process.stdin.close()
            tail = printed.text()
        if process.returncode != 0:
            raise ProbeDied(process.returncode, tail)


class LocalKind(DeviceKind):
    scheme = form = LocalDevice.address

    def has(self, address: str) -> bool:
        return address == self.scheme

    def label(self, address: str) -> str:
        return address

    def open(self, address: str, stall_s: float, settings: Mapping[str, Any]) -> Device:
        return LocalDevice(stall_s=stall_s)


def _follow(
    process: subprocess.Popen[bytes], stall_s: float, step_s: float, progress: Progress | None
) -> None:
    """Pass progress lines on until the process ends; DeviceError when it falls silent, or says too
    much."""
    assert process.stdout is not None
    lines = Lines()
    read = threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True)
    read.start()
    follow(lines, stall_s, progress, step_s)
    try:
        process.wait(timeout=stall_s)
    except subprocess.TimeoutExpired:
        raise ProbeStalled(f"the probe did not end within {stall_s:.0f} s") from None


def _read_lines(stream: IO[bytes], lines: Lines) -> None:
    with stream:
        while (printed := os.read(stream.fileno(), 2**16)) and lines.feed(printed):
            pass
    lines.end()


class _End:
    """The end of what a process prints, read as it comes so that it never waits."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._printed = stream, b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def text(self) -> str:
        """To be asked when the process is gone; a child of it may still hold its output open."""
        self._thread.join(timeout=1.0)
        return self._printed.decode("utf-8", errors="replace")

    def _read(self) -> None:
        with self._stream:
            while printed := os.read(self._stream.fileno(), 2**16):
                self._printed = (self._printed + printed)[-LINE:]
