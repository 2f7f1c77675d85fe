"""Files of recordings: a line of JSON for each probe.

Lines are only ever added, each in one write, so that a killed process leaves at most a torn last
line, which does not count."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trimtab_runtime.errors import DeviceError


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


def append_line(file: Path, line: str) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        left = memoryview(line.encode() + b"\n")
        while left:  # once, unless the disk is nearly full
            left = left[os.write(handle, left) :]
    finally:
        os.close(handle)


def cut_torn_line(file: Path) -> None:
    """Remove what a killed process began to write, or the next line would be lost with it."""
    if not file.exists() or not (size := file.stat().st_size):
        return
    with file.open("rb") as stream:
        stream.seek(size - 1)
        if stream.read(1) == b"\n":
            return
    os.truncate(file, file.read_bytes().rfind(b"\n") + 1)


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
