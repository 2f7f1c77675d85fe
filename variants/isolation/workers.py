"""The side of the job: workers are started, asked, and replaced where they die."""

from __future__ import annotations

import atexit
import json
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from trimtab.variants.files import watchdog
from trimtab.variants.isolation import child
from trimtab.variants.isolation.limits import Limits
from trimtab_runtime.errors import ModelError, told_error
from trimtab_runtime.processes import AwakeClock, end_group

#: How a step asks the job for something, or tells it; the answer is what the job says.
Ask = Callable[[Any], Any]
#: A step: its request, and how it asks the job meanwhile; all of it what JSON can say.
Task = Callable[[Any, Ask], Any]

_COMMAND = "from trimtab.variants.isolation.worker import main; main()"
_GLANCE_S = 1.0
_END_S = 5.0
#: Processes that wait for the next call: each holds what it has imported.
_KEPT = 2
#: For what is no step: a process that starts, or imports what it needs.
_PREPARING_S = 300.0


def call(
    task: Task,
    about: str,
    request: Any,
    limits: Limits | None = None,
    *,
    answering: Ask | None = None,
    waiting: Callable[[], None] | None = None,
) -> Any:
    """What `task` (a function of a module) answers to a request, in another process.

    `answering` replies to what it asks; `waiting` is called about once a second meanwhile. A
    process serves one call after another until one fails.

    Raises what the task raises where it is a TrimtabError, and else ModelError, whose text begins
    with `about`: for a step that takes too long, a crash, too little memory, or any other error.
    """
    limits = limits or Limits()
    worker = _idle()
    try:
        told = worker.ask(task, about, request, limits, answering, waiting)
    except BaseException:
        worker.end()
        raise
    if told.get("spent"):
        worker.end()
    else:
        _give_back(worker)
    if "told" in told:
        return told["told"]
    if told["error"] is None:
        raise ModelError(f"{about}: {told['reason']}")
    raise told_error(told["error"], told["reason"], ModelError)


_IDLE: list[_Worker] = []
_LOCK = threading.Lock()


def _idle() -> _Worker:
    with _LOCK:
        while _IDLE:
            worker = _IDLE.pop()
            if worker.lives():
                return worker
            worker.end()
    return _Worker()


def _give_back(worker: _Worker) -> None:
    with _LOCK:
        if len(_IDLE) < _KEPT:
            _IDLE.append(worker)
            return
    worker.end()


@atexit.register
def end_idle() -> None:
    """End the processes that wait for the next call, which then begins with a new one."""
    with _LOCK:
        while _IDLE:
            _IDLE.pop().end()


class _Worker:
    """A process that serves one call at a time."""

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 as long as the process
        self._before = 0
        self._process = child.started(_COMMAND, stderr=self._said)
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._requests: queue.Queue[bytes | None] = queue.Queue()
        pipes = (
            (_read, self._process.stdout, self._lines),
            (_write, self._process.stdin, self._requests),
        )
        for serve, stream, lines in pipes:
            threading.Thread(target=serve, args=(stream, lines), daemon=True).start()

    def ask(
        self,
        task: Task,
        about: str,
        request: Any,
        limits: Limits,
        answering: Ask | None,
        waiting: Callable[[], None] | None,
    ) -> dict[str, Any]:
        """The last that it says of a call. Raises ModelError where it dies, or what `answering`
        and `waiting` raise."""
        step_s = limits.step_s
        line = {
            "task": f"{task.__module__}:{task.__qualname__}",
            "request": request,
            "step_s": step_s,
            "memory": limits.memory_bytes,
            "temporary": tempfile.gettempdir(),
        }
        self._before = os.fstat(self._said.fileno()).st_size
        self._send(line)
        clock = AwakeClock()
        heard, limit_s, waited = clock(), _PREPARING_S, time.monotonic()
        while True:
            if waiting is not None and time.monotonic() - waited >= _GLANCE_S:
                waited = time.monotonic()
                waiting()
            try:
                said = self._lines.get(timeout=_GLANCE_S)
            except queue.Empty:
                if clock() - heard > limit_s + watchdog.TELL_S:  # also where it is stopped
                    raise ModelError(_late(about, limit_s)) from None
                continue
            if said is None:
                raise ModelError(self._death(about, step_s))
            told: dict[str, Any] = json.loads(said)
            if "ask" in told:
                self._send({"answer": answering(told["ask"]) if answering is not None else None})
            elif "step" in told:
                limit_s = step_s if told["step"] else _PREPARING_S
            else:
                return told
            heard = clock()

    def end(self) -> None:
        """End the process and what it has started, now."""
        end_group(self._process)
        self._requests.put(None)
        self._said.close()

    def _send(self, line: dict[str, Any]) -> None:
        self._requests.put(json.dumps(line).encode() + b"\n")

    def lives(self) -> bool:
        return self._process.poll() is None

    def _death(self, about: str, step_s: float) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        status = self._process.poll()
        if watchdog.SIGNAL is not None and status == -watchdog.SIGNAL:
            return _late(about, step_s)
        end = os.fstat(self._said.fileno()).st_size  # what calls before this one said is theirs
        said = os.pread(self._said.fileno(), end - self._before, self._before).decode(
            "utf-8", "replace"
        )
        died = child.death("whoever worked with it", status, said)
        if said.strip():  # the cause is told, and no other is guessed
            return f"{about}: {died}"
        return f"{about}: {died}; it may be damaged: export it again"


def _late(about: str, step_s: float) -> str:
    return (
        f"{about}: gave no answer within {step_s:g} s; export it again, or allow more time where "
        "it is that slow (budget.stall_seconds)"
    )


def _write(stream: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    """In a thread of its own: a process that is stopped takes nothing."""
    with suppress(BrokenPipeError), stream:  # it died, which the end of its output tells
        while (line := lines.get()) is not None:
            stream.write(line)
            stream.flush()


def _read(stream: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)
