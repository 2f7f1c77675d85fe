"""What a case is, and what it may use while it runs."""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from benchmarks._options import ROOT

_LOOK_S = 0.05
#: The program of a bundle with the runtime of this checkout, not with the one inside: behind it
#: come the bundle and its command.
PROGRAM = [sys.executable, "-P", "-c", "import sys; from trimtab_runtime.cli import main; "]
PROGRAM[-1] += "sys.exit(main(sys.argv[1], sys.argv[2:]))"
TRACEBACK = "Traceback (most recent call last)"


class Harmed(Exception):
    """What must not happen did: a file was overwritten, a wrong answer given in silence."""


class Mistaken(Exception):
    """It was refused by another rule than the one that it breaks, or not at all."""


class Ended(Exception):
    """A job or a program ended, or hung, that had to go on."""


class Traced(Exception):
    """A program showed its user a traceback."""


@dataclass(frozen=True)
class Case:
    """One hostile or broken input.

    `run` raises TrimtabError where it was refused, returns where it was survived, and raises
    `Harmed` or `Ended` where what must hold does not. It has `limit_s` seconds.

    `refused` is a pattern of the reason by which it must be refused; without one it must be
    survived. Where that depends on what was drawn, `either` will do.
    """

    name: str
    run: Callable[[Attempt], None]
    refused: str = ""
    either: bool = False
    limit_s: float = 240.0

    def check(self, reason: str | None) -> None:
        """Raises Mistaken where what became of it is not what must (None: it was survived)."""
        if reason is None and self.refused and not self.either:
            raise Mistaken(f"it was not refused ({self.refused})")
        if reason is not None and not (self.refused and re.search(self.refused, reason)):
            must = f"refused by {self.refused!r}" if self.refused else "survived"
            raise Mistaken(f"it must be {must}, and it was refused: {reason}")


@dataclass(frozen=True)
class Done:
    """A command that ended: its exit status, and what it printed on both streams."""

    status: int
    output: str


@dataclass
class Attempt:
    """One run of a case: an empty `folder` of its own and numbers drawn from the seed and the
    case's name. `peak_gb` and `silence_s` are of the commands that it ran."""

    folder: Path
    rng: np.random.Generator
    peak_gb: float = 0.0
    silence_s: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)

    def trimtab(
        self, *arguments: object, statuses: Sequence[int] = (0, 1, 2), limit_s: float = 200.0
    ) -> Done:
        """:meth:`command` of the `trimtab` command, whose store lies in the case's folder."""
        call = [sys.executable, "-P", "-c", "import sys; from trimtab.planner.cli import main; "]
        call[-1] += "sys.exit(main())"
        store = ["--store", str(self.folder / "store.db")]
        given = [*call, *store, *map(str, arguments)]
        return self.command(given, statuses=statuses, limit_s=limit_s)

    def command(
        self,
        call: Sequence[str],
        *,
        statuses: Sequence[int] = (0, 1, 2),
        given: bytes | None = None,
        limit_s: float = 200.0,
    ) -> Done:
        """Run a program in the case's folder, with `given` on its standard input. Raises `Traced`
        where it shows a traceback, `Ended` where it hangs or ends with a status that is not among
        `statuses`."""
        process = subprocess.Popen(
            call,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **self.environment},
            stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            output = self.follow(process, given, limit_s)
        finally:
            end(process)
        if TRACEBACK in output:
            raise Traced(output.strip().splitlines()[-1])
        if process.returncode not in statuses:
            raise Ended(f"status {process.returncode}: {output.strip()[-300:]}")
        return Done(process.returncode, output)

    def follow(self, process: subprocess.Popen[bytes], given: bytes | None, limit_s: float) -> str:
        """What it prints until it ends; its memory and its silences are noted. Raises `Ended`."""
        assert process.stdout is not None
        if process.stdin is not None and given is not None:
            process.stdin.write(given)  # shorter than a pipe takes at once
            process.stdin.close()
        began = said = time.monotonic()
        output = bytearray()
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            while True:
                self.peak_gb = max(self.peak_gb, resident_gb(process.pid))
                now = time.monotonic()
                self.silence_s = max(self.silence_s, now - said)
                if now - began > limit_s:
                    raise Ended(f"it went on for {limit_s:g} s; {bytes(output[-200:])!r}")
                if waiting.select(_LOOK_S):
                    block = os.read(process.stdout.fileno(), 2**16)
                    if not block:
                        break
                    output += block
                    said = time.monotonic()
        process.wait()
        return output.decode(errors="replace")


def resident_gb(process: int) -> float:
    """The most memory that a process has had so far, without its children; 0 once it is gone."""
    try:
        for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**20
    except OSError:
        pass
    return 0.0


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started."""
    try:
        below = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        below = []
    for each in below:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    if process.poll() is None:
        process.kill()
    process.wait()
