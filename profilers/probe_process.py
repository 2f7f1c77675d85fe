"""The process of a probe: how it is started and followed, wherever it runs."""

from __future__ import annotations

import dataclasses
import json
import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trimtab.profilers.device import Progress
from trimtab_runtime.codec import DecodeError, decode, encode
from trimtab_runtime.errors import DeviceError
from trimtab_runtime.probe.requests import kind_of
from trimtab_runtime.processes import AwakeClock

#: Arguments of the interpreter, in the folder that holds the request.
ARGUMENTS = ("-m", "trimtab_runtime.probe", "request.json", "result.json", "watched")
#: NumPy's own threads would disturb what is measured.
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_TAIL = 600

#: What a process may print: characters of a line, lines that wait, and bytes altogether.
LINE, _WAITING, MOST_PRINTED = 4096, 10_000, 64 * 2**20
#: How often `stall_s` a probe may say that it is at work while nothing more gets done.
_WITHOUT_ADVANCE = 10
_GLANCE_S = 1.0


class ProbeStalled(DeviceError):
    """A probe gave no sign of life, or does not get on."""


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


class Lines:
    """What a process prints, line by line, from the thread that reads it to the one that follows.

    A device may print what it likes: lines that nobody has time for are left out, long ones are
    cut, and from `MOST_PRINTED` bytes on nothing more is taken.
    """

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | None] = queue.Queue(_WAITING)
        self._begun, self._bytes = b"", 0

    def feed(self, printed: bytes) -> bool:
        """Take what was read; False where that was too much, and nothing more is to be read."""
        self._bytes += len(printed)
        if self._bytes > MOST_PRINTED:
            return False
        *whole, rest = (self._begun + printed).split(b"\n")
        self._begun = rest[:LINE]
        for line in whole:
            if line and not self._queue.full():
                self._queue.put_nowait(line[:LINE])
        return True

    def end(self) -> None:
        """Nothing more comes."""
        if self._begun:
            self.feed(b"\n")
        while self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    def get(self, timeout: float | None = None) -> bytes | None:
        """The next line, None at the end. Raises queue.Empty after `timeout` seconds, and
        DeviceError where too much was printed."""
        line = self._queue.get(timeout=timeout)
        if line is None and self._bytes > MOST_PRINTED:
            raise DeviceError(f"the device printed more than {MOST_PRINTED // 2**20} MB in a step")
        return line


def request_text(request: Any, output: str) -> str:
    """A request as the probe reads it; arrays go to `output`, a path on the device."""
    if hasattr(request, "output"):
        request = dataclasses.replace(request, output=output)
    return json.dumps({"kind": kind_of(request), **encode(request)})


def step_limit_s(request: Any, stall_s: float) -> float:
    """Seconds that a whole request may take, by what there is to do: far more than it ever needs,
    but an end."""
    units = sum(len(getattr(request, name, ())) for name in ("images", "files"))
    units += sum(getattr(request, name, 0) for name in ("runs", "rounds"))
    settings = getattr(request, "settings", None)
    measuring = settings.max_seconds if settings else 0.0
    return stall_s * (20 + units / 10) + 10 * measuring


@dataclass(frozen=True)
class _Step:
    """A line of progress."""

    done: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.done <= self.total:
            raise ValueError(f"0 <= done <= total must hold, got {self}")


def follow(
    lines: Lines,
    stall_s: float,
    progress: Progress | None,
    step_s: float,
    clock: Callable[[], float] | None = None,
) -> None:
    """Pass progress on until the output ends. Raises ProbeStalled when it falls silent, when it
    says for long that it works but gets no further, and when it goes on for `step_s` seconds; and
    DeviceError for progress that is none."""
    clock = clock or AwakeClock()
    began = alive = advanced = clock()
    furthest = 0
    while True:
        ends = {
            f"gave no sign of life for {stall_s:.0f} s": alive + stall_s,
            f"got no further for {_WITHOUT_ADVANCE * stall_s:.0f} s": advanced
            + _WITHOUT_ADVANCE * stall_s,
            f"took more than {step_s:.0f} s": began + step_s,
        }
        why, end = min(ends.items(), key=lambda item: item[1])
        try:
            line = lines.get(timeout=min(_GLANCE_S, max(0.0, end - clock())))
        except queue.Empty:
            line = b""
        if line is None:
            return
        if line.startswith(b"{"):
            step = _step(line)
            alive = clock()
            if step.done > furthest:
                furthest, advanced = step.done, alive
            if progress is not None:
                progress(step.done, step.total)
        if clock() > end:  # lines that are waiting do not hide it
            raise ProbeStalled(f"the probe {why}")


def _step(line: bytes) -> _Step:
    try:
        return decode(_Step, parsed(line))
    except DecodeError as error:
        raise DeviceError(f"the device told of a progress that is none: {error}") from None


def parsed(text: bytes) -> Any:
    """JSON of a stranger. Raises DeviceError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        said = str(error)[:_TAIL]
        raise DeviceError(f"the device answered with what is no JSON: {said}") from None
