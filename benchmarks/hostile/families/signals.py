"""Signals to programs, jobs, and to what jobs have started, at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil

from benchmarks._options import ROOT, SUPPORT
from benchmarks.hostile.cases import PROGRAM, TRACEBACK, Attempt, Case, Ended, Harmed, Traced, end
from benchmarks.hostile.families.jobs import small_job
from trimtab_runtime import Plan

sys.path.insert(0, str(SUPPORT))
from sample_models import INPUT, write_onnx, write_photos

_BUNDLE = ROOT / "tests" / "trimtab_runtime" / "fixtures" / "protocol_2.pyz"
_ENDING = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}
_WAIT_S = 240.0


def cases(seed: int) -> Iterator[Case]:
    """Streams and jobs that are asked to end; helpers of jobs that are killed."""
    for name in _ENDING:
        for frames in (0, 1, 5):
            yield Case(f"stream {name} after {frames}", partial(_stream, name, frames))
    yield Case("stream killed", _killed_stream)
    yield Case("stream whose reader goes", _broken_pipe)
    for name in ("SIGINT", "SIGTERM", "SIGKILL"):
        yield Case(f"job {name}", partial(_job, name), limit_s=900)
    for name in ("SIGKILL", "SIGSEGV", "SIGTERM"):
        yield Case(f"helper {name}", partial(_helper, name), limit_s=900)


def _stream(name: str, frames: int, attempt: Attempt) -> None:
    memory = attempt.folder / "memory.npz"
    with _streaming(attempt, memory) as program:
        _feed(attempt, program, frames)
        program.send_signal(getattr(signal, name))
        status = program.wait(_WAIT_S)
        said = program.stderr.read() if program.stderr else ""
    if TRACEBACK in said:
        raise Traced(said.splitlines()[-1])
    if status != _ENDING[name]:
        raise Ended(f"its status is {status}")
    _remembers(memory, frames)


def _killed_stream(attempt: Attempt) -> None:
    """What was saved after each image is there."""
    memory = attempt.folder / "memory.npz"
    with _streaming(attempt, memory, "--save-every", "0") as program:
        _feed(attempt, program, 4)
        program.kill()
    plan = Plan.load(str(_BUNDLE))
    assert plan.memory is not None
    plan.memory.restore(str(memory))
    if plan.memory.summary()["frames"] < 3:
        raise Harmed("what was saved is lost")


def _broken_pipe(attempt: Attempt) -> None:
    memory = attempt.folder / "memory.npz"
    with _streaming(attempt, memory) as program:
        _feed(attempt, program, 2)
        assert program.stdout is not None
        program.stdout.close()
        program.communicate(f"{_photos(attempt)[0]}\n" * 3, timeout=_WAIT_S)
    if not memory.exists():
        raise Harmed("the memory was not saved")


def _remembers(memory: Path, frames: int) -> None:
    plan = Plan.load(str(_BUNDLE))
    assert plan.memory is not None
    plan.memory.restore(str(memory))
    found = plan.memory.summary()["frames"]
    if found != frames:
        raise Harmed(f"{found} frames are remembered, {frames} were answered")


def _streaming(attempt: Attempt, memory: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, str(_BUNDLE), "stream", "--memory", str(memory), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **attempt.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _feed(attempt: Attempt, program: subprocess.Popen[str], frames: int) -> None:
    assert program.stdin is not None and program.stdout is not None
    photos = _photos(attempt)
    for number in range(max(frames, 1)):  # one that cannot be read says that it runs
        line = photos[number] if frames else Path("none.png")
        program.stdin.write(f"{line}\n")
        program.stdin.flush()
        if json.loads(program.stdout.readline())["image"] != str(line):
            raise Harmed("answers and images are mixed up")


def _photos(attempt: Attempt) -> list[Path]:
    return write_photos(attempt.folder / "photos", 8)


def _job(name: str, attempt: Attempt) -> None:
    """It ends soon, and the same command goes on and finishes."""
    specification = small_job(attempt)
    process = _planning(attempt, specification)
    try:
        _wait_for(process, lambda: bool(psutil.Process(process.pid).children()))
        time.sleep(float(attempt.rng.uniform(0, 6)))
        process.send_signal(getattr(signal, name))
        process.wait(60)
    except subprocess.TimeoutExpired:
        raise Ended("it went on for 60 s after the signal") from None
    finally:
        end(process)
    done = attempt.trimtab("plan", "--force", specification, limit_s=600.0)
    if "Chosen" not in done.output:
        raise Ended(f"it does not go on: {done.output[-300:]}")


def _helper(name: str, attempt: Attempt) -> None:
    """What a job has started to work with a model is ended from outside; the job goes on."""
    write_onnx(attempt.folder / "second.onnx", width=6)
    process = _planning(attempt, small_job(attempt, [{"path": "second.onnx", "input": INPUT}]))
    try:
        _wait_for(process, lambda: _end_helper(process.pid, getattr(signal, name)))
        output = attempt.follow(process, None, 600.0)
    finally:
        end(process)
    if TRACEBACK in output:
        raise Traced(output.splitlines()[-1])
    if "Chosen" not in output:
        raise Ended(output[-300:])


def _end_helper(pid: int, number: int) -> bool:
    for child in psutil.Process(pid).children():
        try:
            if "trimtab.variants.isolation.worker" in " ".join(child.cmdline()):
                child.send_signal(number)
                return True
        except psutil.NoSuchProcess:
            continue
    return False


def _planning(attempt: Attempt, specification: str) -> subprocess.Popen[bytes]:
    call = "import sys; from trimtab.planner.cli import main; sys.exit(main())"
    given = ["--store", str(attempt.folder / "store.db"), "plan", "--force", specification]
    return subprocess.Popen(
        [sys.executable, "-P", "-c", call, *given],
        cwd=attempt.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _wait_for(process: subprocess.Popen[bytes], happened: Callable[[], bool]) -> None:
    until = time.monotonic() + _WAIT_S
    while time.monotonic() < until and process.poll() is None:
        if happened():
            return
        time.sleep(0.02)
    raise Ended("it ended before anything could be done to it")
