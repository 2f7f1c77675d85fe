"""Jobs over SSH while faults are injected every few seconds, compared with one left alone.

The device is this machine behind a real sshd. Its "interpreter" does what it is asked once and
keeps the answer by the content of the request; asked again it takes some seconds, with signs of
life, and gives the same answer: so all jobs meet the same figures, and the faults hit a real
process behind a real connection.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from killing import SETTINGS, committed, outcome, small_job
from ssh_server import SshServer

from trimtab.db import Store
from trimtab.planner.pipeline.job import plan
from trimtab.profilers.ssh import Patience, SshDevice

STALL_S = 8.0
#: A real probe that is killed or hangs so often is given up; here faults never end.
PATIENCE = Patience(first_s=0.1, longest_s=2.0, attempts=50, breaks=200, keep_alive_s=2.0)

_STAND_IN = """
import hashlib, json, os, re, shutil, subprocess, sys, threading, time
from pathlib import Path

if sys.argv[1:2] != ["-m"] or sys.argv[3:4] != ["request.json"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
home = Path({home!r})


def end_with_asker():
    while os.read(0, 4096):
        pass
    os._exit(3)


threading.Thread(target=end_with_asker, daemon=True).start()
asked = json.loads(Path("request.json").read_text())
asked.pop("output", None)
# Files have their content as names; what they lie in does not matter.
key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
kept = home / key
if not kept.exists():
    made = home / f"{{key}}.made"
    shutil.rmtree(made, ignore_errors=True)
    child = subprocess.Popen([{python!r}, *sys.argv[1:]], stdin=subprocess.PIPE)
    if child.wait() != 0:
        sys.exit(child.returncode)
    made.mkdir()
    for name in ("result.json", "arrays.npz"):
        if Path(name).exists():
            shutil.copyfile(name, made / name)
    made.rename(kept)
else:
    for step in range({steps}):
        print(json.dumps({{"done": step, "total": {steps}}}), flush=True)
        time.sleep({pause_s})
for name in ("arrays.npz", "result.json"):
    if (kept / name).exists():
        shutil.copyfile(kept / name, name)
with (home / "finished").open("a") as log:
    log.write(key + "\\n")
"""


@dataclass
class Tally:
    """What was seen. `problems` are sentences; there should be none."""

    faults: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    lost: int = 0
    repeated: int = 0
    unequal: int = 0
    problems: list[str] = field(default_factory=list)


class Disturber(threading.Thread):
    """Cuts connections, kills probes and stops them, each after `between_s` (least, most)."""

    def __init__(self, server: SshServer, seed: int, between_s: tuple[float, float]) -> None:
        super().__init__(daemon=True)
        self._server, self._random, self._between_s = server, random.Random(seed), between_s
        self.kinds: Counter[str] = Counter()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(self._random.uniform(*self._between_s)):
            kind = self._random.choice(("cut", "kill", "stop"))
            if self._inject(kind):
                self.kinds[kind] += 1

    def _inject(self, kind: str) -> bool:
        """Whether there was something to hit."""
        targets = self._server.sessions() if kind == "cut" else self._server.probes()
        with suppress(psutil.NoSuchProcess):
            for process in targets:
                (process.suspend if kind == "stop" else process.kill)()
        return bool(targets)


class Disturbing:
    """Runs one small job undisturbed, then others under faults, each in a store of its own."""

    def __init__(self, folder: Path, seed: int, steps: int = 4, pause_s: float = 0.25) -> None:
        self._folder, self._seed = folder, seed
        self.tally = Tally()
        self.server = SshServer(folder / "sshd")
        self._finished = folder / "kept" / "finished"
        self._finished.parent.mkdir()
        self._stand_in(steps, pause_s)
        os.environ["HOME"] = str(self.server.home)
        self._spec = {**small_job(folder), "device": self._device_spec()}
        self._job("recorded", None)  # every answer is made once
        self._expected, self._needed = self._job("undisturbed", None)

    def close(self) -> None:
        self.server.stop()

    def go_on(self, faults: int, between_s: tuple[float, float] = (2.0, 6.0)) -> Tally:
        """Run jobs until so many faults were injected in all."""
        while self.tally.faults < faults:
            self.tally.jobs += 1
            name = f"job-{self.tally.jobs}"
            disturber = Disturber(self.server, self._seed + self.tally.jobs, between_s)
            found, finished = self._job(name, disturber)
            self.tally.faults += disturber.kinds.total()
            self.tally.by_kind += disturber.kinds
            lost = self._expected["evidence"] - found["evidence"]
            again = finished - self._needed
            differing = [part for part in found if found[part] != self._expected[part]]
            self.tally.lost += len(lost)
            self.tally.repeated += again.total()
            self.tally.unequal += bool(differing)
            self.tally.problems += [f"{name}: {what} is missing" for what in lost]
            self.tally.problems += [f"{name}: finished again: {key}" for key in again.elements()]
            self.tally.problems += [f"{name}: {part} differ" for part in differing]
            left = self.server.probes()
            self.tally.problems += [f"{name}: process {process.pid} is left" for process in left]
        return self.tally

    def _device_spec(self) -> dict[str, str]:
        return {"address": self.server.address, "host_key": self.server.fingerprint}

    def _stand_in(self, steps: int, pause_s: float) -> None:
        python = self.server.device / "env" / "bin" / "python"
        python.parent.mkdir(parents=True)
        text = _STAND_IN.format(
            python=sys.executable, home=str(self._finished.parent), steps=steps, pause_s=pause_s
        )
        python.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
        python.chmod(0o755)

    def _job(self, name: str, disturber: Disturber | None) -> tuple[dict[str, Any], Counter[str]]:
        """What a job found, and how often each probe was finished on the device."""
        self._finished.write_text("", encoding="utf-8")
        with (
            Store.open(self._folder / name / "trimtab.db") as store,
            SshDevice(self.server.target, STALL_S, PATIENCE) as device,
        ):
            assert device.home  # a device that does not answer at first contact is no device
            if disturber is not None:
                disturber.start()
            try:
                plan(self._spec, store, settings=SETTINGS, device=device, setup="ignored")
            finally:
                if disturber is not None:
                    disturber.ended.set()
                    disturber.join()
            found = outcome(store)
            found["summary"].pop("troubles", None)
            found["evidence"] = set(committed(store))
        return found, Counter(self._finished.read_text(encoding="utf-8").split())
