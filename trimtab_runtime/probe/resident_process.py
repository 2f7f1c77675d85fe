"""Processes of bundles that take turns (resident.py), seen from the one who asks them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Callable

from trimtab_runtime.errors import DeviceError, told_error
from trimtab_runtime.probe.requests import PairedRequest
from trimtab_runtime.processes import runtime_place

Progress = Callable[[int, int], None]

_RESIDENT = "trimtab_runtime/probe/resident.py"


class ResidentProcess:
    """A bundle that runs, and waits."""

    def __init__(self, request: PairedRequest, bundle: str, python: str, folder: str) -> None:
        self._bundle = bundle
        self._process = subprocess.Popen(
            [python, "-m", "trimtab_runtime.probe.resident"],
            env={**os.environ, "PYTHONPATH": _runtime_of(bundle) or runtime_place(python, folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        told = {"bundle": bundle, "images": request.images, "starts": request.starts}
        self._send(told)
        self.image_ms, self.remembers = 0.0, False

    def wait_until_ready(self) -> None:
        """Until its engines are loaded and warm. Raises what went wrong there."""
        told = self._answer()
        self.image_ms = float(told["image_ms"])
        self.remembers = bool(told.get("remembers"))  # an earlier version does not tell

    def ask(self, block: list[tuple[int, int]]) -> dict[str, Any]:
        """Its answers to a block."""
        self._send(block)
        return self._answer()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # why it ended is its answer
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise DeviceError(
                f"{self._bundle}: its process ended with status {self._process.wait()} while it "
                "took turns with others; free memory, or verify fewer plans"
            )
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise told_error(found["error"], f"{self._bundle}: {found['reason']}", DeviceError)
        return found


def _runtime_of(bundle: str) -> str:
    """Where a bundle's process imports from: itself; '' where it is of a version without this, or
    no bundle at all, which is for the process to say."""
    with suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(bundle) as archive:
        if _RESIDENT in archive.namelist():
            return os.path.abspath(bundle)
    return ""


@contextmanager
def residents_of(request: PairedRequest, progress: Progress) -> Iterator[list[ResidentProcess]]:
    """All bundles, loaded; they end with the context."""
    with ExitStack() as held:
        found = []
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-turns-"))
        pythons = request.pythons or ("",) * len(request.bundles)
        for bundle, python in zip(request.bundles, pythons):
            found.append(ResidentProcess(request, bundle, python or sys.executable, folder))
            held.callback(found[-1].close)
        for resident in found:
            resident.wait_until_ready()
            progress(0, request.settings.rounds)
        yield found
