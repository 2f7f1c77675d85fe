"""Programs that pose as a probe on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psutil

from benchmarks.hostile.cases import Attempt, Case, Harmed, Mistaken
from trimtab.profilers import LocalDevice
from trimtab_runtime.probe.requests import FingerprintRequest

#: Until a program that says nothing is given up: long enough that it has begun, on a machine that
#: is busy; and for one that says it works, which is given ten times as long.
_SILENT_S, _BUSY_S = 20.0, 3.0
_SILENT, _NO_FURTHER = f"gave no sign of life for {_SILENT_S:.0f} s", "got no further for"
_NO_PROGRESS, _MUCH = "told of a progress that is none", "printed more than 64 MB in a step"


def program_cases() -> Iterator[Case]:
    """One for each."""
    for name, (code, refused) in _PROGRAMS.items():
        yield Case(f"program-{name}", _program(code, refused), refused)


_PRINTING = """import json, os, subprocess, sys, time
open(BEGAN, 'w').close()
def say(done, total):
    print(json.dumps({"done": done, "total": total}), flush=True)
"""
_WAIT = "\ntime.sleep(10**6)"
_MANY = "lines = 9999 * (json.dumps({'done': 1, 'total': 2}) + chr(10))"
#: What a probe does, and how that is told.
_PROGRAMS = {
    "floods-one-line": ("while True: sys.stdout.write('x' * 65536)", _MUCH),
    "floods-lines": ("while True: print('x' * 999)", _MUCH),
    "floods-progress": (_MANY + "\nwhile True: sys.stdout.write(lines)", _MUCH),
    "floods-errors": ("while True: print('x' * 4096, file=sys.stderr)", _SILENT),
    "says-it-works-for-ever": ("while True:\n    say(0, 1)\n    time.sleep(0.2)", _NO_FURTHER),
    "goes-back-and-forth": (
        "while True:\n    say(2, 3)\n    say(1, 3)\n    time.sleep(0.2)",
        _NO_FURTHER,
    ),
    "never-says-anything": (_WAIT, _SILENT),
    "stops-itself": ("os.kill(os.getpid(), 19)", _SILENT),
    "stops-its-group": ("os.killpg(0, 19)", _SILENT),
    "closes-its-output-and-stays": ("os.close(1)" + _WAIT, "did not end within"),
    "progress-of-texts": ("say('a', 'b')" + _WAIT, _NO_PROGRESS),
    "progress-of-lists": ("say([[[]]], {})" + _WAIT, _NO_PROGRESS),
    "progress-below-zero": ("say(-1, -1)" + _WAIT, _NO_PROGRESS),
    "progress-beyond-64-bits": ("say(10**4000, 1)" + _WAIT, _NO_PROGRESS),
    "progress-beyond-all-digits": (
        "print('{\"done\": ' + '9' * 4050 + ', \"total\": 1}', flush=True)" + _WAIT,
        _NO_PROGRESS,
    ),
    "progress-nested": ("print('{' + '\"a\":{' * 700, flush=True)" + _WAIT, "is no JSON"),
    "progress-no-utf8": ("os.write(1, b'{\\xff\\xfe}\\n')" + _WAIT, "is no JSON"),
    "dies-of-a-signal": ("os.kill(os.getpid(), 11)", "died of signal 11"),
    "no-result": ("pass", r"result\.json: No such file"),
    "endless-result": ("open('result.json', 'wb').truncate(2**40)", "more than 16 MB"),
    "result-is-a-folder": ("os.mkdir('result.json')", r"result\.json: is no file"),
    "result-is-a-pipe": ("os.mkfifo('result.json')", r"result\.json: is no file"),
    "result-is-endless-device": (
        "os.symlink('/dev/zero', 'result.json')",
        r"result\.json: is no file",
    ),
    "forks-and-leaves": ("if os.fork() == 0: time.sleep(10**6)", _SILENT),
    "leaves-a-program": (
        "subprocess.Popen(['sleep', '1000000'], stdin=subprocess.DEVNULL)",
        _SILENT,
    ),
}


def _program(code: str, refused: str) -> Callable[[Attempt], None]:
    """Nothing of it may be left, and it must have begun: or it is refused for being slow."""

    def run(attempt: Attempt) -> None:
        place, began = (
            attempt.folder / "runtime" / "trimtab_runtime" / "probe",
            attempt.folder / "b",
        )
        place.mkdir(parents=True)
        for package in (place, place.parent):
            (package / "__init__.py").touch()
        text = _PRINTING.replace("BEGAN", repr(str(began))) + code + "\n"
        (place / "__main__.py").write_text(text, encoding="utf-8")
        stall_s = _BUSY_S if refused == _NO_FURTHER else _SILENT_S
        try:
            bundle = str(attempt.folder / "runtime")
            LocalDevice(stall_s=stall_s).probe(FingerprintRequest(), bundle=bundle)
        finally:
            if not began.exists():
                raise Mistaken("it had not begun")
            if left := psutil.Process().children(recursive=True):
                raise Harmed(f"{len(left)} processes are left")
        raise Harmed("it passed for an answer")

    return run
