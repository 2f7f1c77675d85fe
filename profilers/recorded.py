"""Devices whose answers are recorded in a file, and replayed from it.

    trimtab.plan(spec, store, device=RecordingDevice(LocalDevice(), Path("line.jsonl")))

measures on this machine and keeps every answer; with `device: recorded:line.jsonl` in the
specification (or `connect("recorded:line.jsonl")`) the same work is answered from the file, in no
time and without noise, wherever models and images of the same content lie.

A line of the file is one probe, in JSON, arrays as `.npz` in base64. Lines are only ever added,
each in one write, so that a killed process leaves at most a torn last line, which does not count.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.profilers.device import (
    Device,
    DeviceLost,
    Listener,
    ProbeResult,
    Progress,
    probe_error,
)
from trimtab.profilers.kind import DeviceKind
from trimtab.profilers.probe_answer import Told, result_of
from trimtab.profilers.probe_arrays import read_arrays
from trimtab_runtime.codec import DecodeError, content_key, decode, encode
from trimtab_runtime.errors import DeviceError, TrimtabError
from trimtab_runtime.probe.requests import FingerprintRequest, kind_of

_SCHEME = "recorded:"
#: Bytes that the arrays of one answer may take.
_MOST_ARRAYS = 2**30


class RecordingDevice(Device):
    """Passes everything on to another device, and adds what it answers to a file.

    Errors of the tree are answers too. The same request asked again is recorded again.
    """

    def __init__(self, device: Device, file: Path) -> None:
        self.address = device.address
        self._device, self._file = device, file
        self._contents = _Contents()
        cut_torn_line(file)

    @property
    def listener(self) -> Listener:
        return self._device.listener

    @listener.setter
    def listener(self, listener: Listener) -> None:
        self._device.listener = listener

    def close(self) -> None:
        self._device.close()

    def machine(self) -> str:
        return self._device.machine()

    def identity(self) -> str:
        return self._device.identity()

    def put(self, path: Path) -> str:
        placed = self._device.put(path)
        self._contents.local[placed] = path
        return placed

    def probe(
        self,
        request: Any,
        *,
        stall_s: float | None = None,
        progress: Progress | None = None,
        bundle: str | None = None,
    ) -> ProbeResult:
        key = self._contents.key(request, bundle)  # before files can change
        steps: list[tuple[int, int]] = []

        def follow(done: int, total: int) -> None:
            steps.append((done, total))
            if progress is not None:
                progress(done, total)

        entry = {"key": key, "kind": kind_of(request)}
        try:
            result = self._device.probe(request, stall_s=stall_s, progress=follow, bundle=bundle)
        except DeviceLost:
            raise  # no answer
        except TrimtabError as error:
            failure = {"error": type(error).__name__, "reason": str(error)}
            self._keep({**entry, "progress": steps, **failure})
            raise
        if isinstance(request, FingerprintRequest) and self.identity():
            entry["identity"] = self.identity()
        self._keep({**entry, "progress": steps, "result": _written(result)})
        return result

    def _keep(self, entry: dict[str, Any]) -> None:
        try:
            _append_line(self._file, json.dumps(entry))
        except OSError as error:
            cut_torn_line(self._file)
            raise DeviceError(f"recording {self._file} cannot be written: {error}") from error


class RecordedDevice(Device):
    """Answers what a RecordingDevice recorded.

    The first time a request is asked it gets the first recorded answer, the next time the next
    one; when there are no more, the last again. `log` names a file that gets a line for every
    probe: the request's key and kind. Raises DeviceError for a request that was not recorded.
    """

    def __init__(self, file: Path, log: Path | None = None) -> None:
        self.address = f"{_SCHEME}{file}"
        self._file, self._log = file, log
        self._contents, self._recording = _Contents(), Recording(file)
        self._asked: dict[str, int] = {}
        self._identity = ""

    def put(self, path: Path) -> str:
        return str(path.resolve())

    def machine(self) -> str:
        return self.address

    def identity(self) -> str:
        return self._identity

    @property
    def measures(self) -> bool:
        return False

    def probe(
        self,
        request: Any,
        *,
        stall_s: float | None = None,
        progress: Progress | None = None,
        bundle: str | None = None,
    ) -> ProbeResult:
        kind, key = kind_of(request), self._contents.key(request, bundle)
        if self._log is not None:
            _append_line(self._log, f"{key} {kind}")
        number = self._asked.get(key, 0)
        self._asked[key] = number + 1
        entry = self._recording.entry(key, number)
        if entry is None:
            raise DeviceError(
                f"{self._file} holds no answer to this {kind} request (models, images, settings "
                "and versions must be those of the recording); record it with "
                "trimtab.profilers.RecordingDevice"
            )
        self._identity = str(entry.get("identity", self._identity))
        return replayed(entry, progress)


class Recording:
    """The whole lines of a file, by the key of their request.

    Raises DeviceError for a file that cannot be read or is no recording.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._read_to = file, 0
        self._offsets: dict[str, list[int]] = {}
        self._one_reader = threading.Lock()
        self.read_on()

    def read_on(self) -> None:
        """Take in what was added since."""
        with self._one_reader:
            for begin, entry, end in _entries(self._file, self._read_to):
                self._offsets.setdefault(entry["key"], []).append(begin)
                self._read_to = end

    def entry(self, key: str, number: int = 0) -> dict[str, Any] | None:
        """The answer to a request that is asked for the `number`-th time (from 0), or the last
        one; None where there is no answer."""
        found = self._offsets.get(key)
        if found is None:
            return None
        with self._file.open("rb") as stream:
            stream.seek(found[min(number, len(found) - 1)])
            entry: dict[str, Any] = json.loads(stream.readline())
            return entry


def replayed(entry: dict[str, Any], progress: Progress | None) -> ProbeResult:
    """What was answered, with its progress. Raises the error that was, and DeviceError for a line
    that is none: a recording may come from anybody."""
    try:
        line = decode(_Line, {name: entry[name] for name in entry if name in _FIELDS})
    except DecodeError as error:
        raise DeviceError(f"the recording holds a line that is none: {error}") from None
    if progress is not None:
        for done, total in line.progress:
            progress(done, total)
    if line.error is not None:
        raise probe_error(line.error, line.reason)
    return _read(line.result)


@dataclass(frozen=True)
class _Line:
    """An answer, or the `error` that was."""

    progress: list[tuple[int, int]]
    result: Any = None
    error: str | None = None
    reason: str = ""


_FIELDS = frozenset(field.name for field in dataclasses.fields(_Line))


class RecordedKind(DeviceKind):
    """The file of the recording follows the scheme."""

    scheme = _SCHEME
    form = f"{_SCHEME}FILE"

    def label(self, address: str) -> str:
        return self._file(address).stem

    def absolute(self, address: str, folder: Path) -> str:
        return f"{self.scheme}{(folder / self._file(address).expanduser()).resolve()}"

    def open(self, address: str, stall_s: float, settings: Mapping[str, Any]) -> Device:
        return RecordedDevice(self._file(address))

    def _file(self, address: str) -> Path:
        return Path(address.removeprefix(self.scheme))


class _Contents:
    """Keys of requests, made of what their files hold instead of where these lie.

    A text is a file if it was put on the device (`local` says from where), or is the absolute
    path of one.
    """

    def __init__(self) -> None:
        self.local: dict[str, Path] = {}
        self._hashes: dict[tuple[str, int, int], str] = {}

    def key(self, request: Any, bundle: str | None) -> str:
        if hasattr(request, "output"):  # where the answer goes: the device chooses
            request = dataclasses.replace(request, output="")
        asked = {"kind": kind_of(request), "request": encode(request), "bundle": bundle}
        return content_key(self._replaced(asked))

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._replaced(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._replaced(item) for item in value]
        return self._content(value) if isinstance(value, str) else value

    def _content(self, text: str) -> str:
        path = self.local.get(text, Path(text))
        if not path.is_absolute() or not path.is_file():
            return text
        state = path.stat()
        known = (str(path), state.st_mtime_ns, state.st_size)
        if known not in self._hashes:
            with path.open("rb") as stream:
                self._hashes[known] = hashlib.file_digest(stream, "sha256").hexdigest()
        return self._hashes[known]


def _written(result: ProbeResult) -> dict[str, Any]:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **result.arrays)  # type: ignore[arg-type]  # names are no options
    arrays = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {**encode(dataclasses.replace(result, arrays={})), "arrays": arrays}


def _read(written: Any) -> ProbeResult:
    """Raises DeviceError."""
    if not isinstance(written, dict) or not isinstance(written.get("arrays"), str):
        raise DeviceError("the recording holds an answer without its arrays")
    fields = {name: value for name, value in written.items() if name != "arrays"}
    try:
        content = base64.b64decode(written["arrays"], validate=True)
    except ValueError as error:
        raise DeviceError(f"the recording's arrays cannot be read: {error}") from None
    arrays = read_arrays(io.BytesIO(content), _MOST_ARRAYS, packed=True)
    return dataclasses.replace(result_of(fields), arrays=Told("arrays", arrays))


def _append_line(file: Path, line: str) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        left = memoryview(line.encode() + b"\n")
        while left:  # once, unless the disk is nearly full
            left = left[os.write(handle, left) :]
    finally:
        os.close(handle)


def cut_torn_line(file: Path) -> None:
    """Remove what a killed process began to write, or the next line would be lost with it."""
    if not file.exists():
        return
    content = file.read_bytes()
    os.truncate(file, content.rfind(b"\n") + 1)


def _entries(file: Path, start: int) -> Iterator[tuple[int, dict[str, Any], int]]:
    """The whole lines from an offset on, between where each begins and ends. DeviceError unless
    each is a probe."""
    begin = start
    try:
        with file.open("rb") as stream:
            stream.seek(start)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                entry = json.loads(line)
                if not isinstance(entry, dict) or not {"key", "kind", "progress"} <= set(entry):
                    raise ValueError("fields are missing")
                if not isinstance(entry["key"], str):
                    raise ValueError("key: expected a text")
                end = begin + len(line)
                yield begin, entry, end
                begin = end
    except OSError as error:
        raise DeviceError(f"recording {file} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise DeviceError(f"{file} is no recording of a device ({error})") from error
