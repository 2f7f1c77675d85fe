"""Specifications that are damaged, hostile, or only unusual."""

from __future__ import annotations

import copy
import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks._options import SUPPORT
from benchmarks.hostile.cases import Attempt, Case, Harmed, Mistaken
from trimtab.planner.specification.job import load_spec
from trimtab.workloads import read_workload

sys.path.insert(0, str(SUPPORT))
from sample_models import INPUT, write_onnx, write_photos

_MUTATED, _BYTES = 24, 8
_ODD: list[Any] = [
    *(None, True, -1, 0, 10**30, float("nan"), float("inf"), 1e-320, "", "x" * 10**5, "\0"),
    *("\x1b[2J", [], [[]], {}, {"a": {}}, {1: 2}, "../..", "/dev/zero", "=cmd|' /C calc'!A0"),
    *("${HOME}", [1] * 5000),
]


def cases(seed: int) -> Iterator[Case]:
    """Rows by hand, then a sound specification with values put in odd places at random."""
    for name, (text, refused) in _TEXTS.items():
        yield Case(name, partial(_text, text), refused)
    yield Case("pipe", _pipe, "it is no regular file")
    yield Case("link to /dev/zero", _endless, "it is no regular file")
    yield Case("folder", lambda attempt: _loaded(attempt.folder), "it is no regular file")
    for number in range(_MUTATED):
        yield Case(f"odd values {number}", _mutated, _OF_A_FIELD, either=True)
    for number in range(_BYTES):
        refused = f"{_OF_A_FIELD}|{_NO_TEXT}|{_NO_YAML}"
        yield Case(f"altered bytes {number}", _altered, refused, either=True)
    for name in ("alias bomb", "nested 100000 times", "no YAML"):
        text, said = _TEXTS[name]
        yield Case(f"command: {name}", partial(_command, text, said))


def _loaded(path: Path) -> None:
    load_spec(path)


def _text(text: bytes, attempt: Attempt) -> None:
    path = attempt.folder / "job.yaml"
    path.write_bytes(text)
    spec = load_spec(path)
    if Path("/tmp/owned").exists():
        raise Harmed("code of it ran")
    if str(spec.workload.images).startswith("/proc"):
        read_workload(spec.workload.images)


def _pipe(attempt: Attempt) -> None:
    os.mkfifo(attempt.folder / "job.yaml")
    _loaded(attempt.folder / "job.yaml")


def _endless(attempt: Attempt) -> None:
    (attempt.folder / "job.yaml").symlink_to("/dev/zero")
    _loaded(attempt.folder / "job.yaml")


def _command(text: bytes, said: str, attempt: Attempt) -> None:
    (attempt.folder / "job.yaml").write_bytes(text)
    done = attempt.trimtab("plan", "job.yaml", statuses=(1, 2))
    if not re.search(said, " ".join(done.output.replace("error: ", "").split())):
        raise Mistaken(f"it says {done.output[-300:]}")


def _sound(folder: Path) -> dict[str, Any]:
    write_photos(folder / "photos", 8)
    write_onnx(folder / "good.onnx", width=2)
    return {
        "name": "sound",
        "device": "local",
        "models": [{"path": "good.onnx", "input": dict(INPUT), "output": {"kind": "logits"}}],
        "workload": {
            "images": "photos",
            "splits": {"fit": 2, "tune": 2, "test": 2, "seed": 0},
            "stream": {"kind": "dwelling", "mean_frames": 15},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "constraints": ["top1 >= 0.99 * baseline", "latency_p95_ms <= 30"],
        "techniques": {"quantisation": ["w8a8"], "slimming": True, "exits": True},
        "budget": {"minutes": 1, "measurements": 3},
    }


def _mutated(attempt: Attempt) -> None:
    data, rng = _sound(attempt.folder), attempt.rng
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(data))
        holder, key = places[int(rng.integers(0, len(places)))]
        holder[key] = copy.deepcopy(_ODD[int(rng.integers(0, len(_ODD)))])
    path = attempt.folder / "job.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    _loaded(path)


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a value, as what holds it and the key."""
    waiting = [data]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            yield holder, key
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])


def _altered(attempt: Attempt) -> None:
    text = bytearray(yaml.safe_dump(_sound(attempt.folder)).encode())
    for place in attempt.rng.integers(0, len(text), 6):
        text[place] = int(attempt.rng.integers(0, 256))
    path = attempt.folder / "job.yaml"
    path.write_bytes(text)
    _loaded(path)


_BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40)
)
_MERGES = "a0: &a0 {x0: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}], x{n}: 1}}\n" for n in range(1, 30)
)
#: What a specification cannot do without.
_MODEL, _IMAGES = (
    "name: x\nmodels: [{path: x.onnx}]\nobjectives: {top1: max}\n",
    "workload: {images: .}\n",
)
_NO_TEXT, _NO_YAML = "cannot be read", "not valid YAML|a value cannot be read|nested too deeply"
#: How an error that names a field begins, on one of its lines.
_OF_A_FIELD = r"(?m)^(name|device|models|workload|objectives|constraints|techniques|budget)\b.*: |"
_OF_A_FIELD += ": unknown field|keys should be strings|is given twice|too large once aliases"


def _whole(more: str, rest: str = _MODEL + _IMAGES) -> bytes:
    """A specification that is sound but for `more`."""
    return (rest + more).encode()


#: What stands in the file, and by which rule it is refused.
_TEXTS: dict[str, tuple[bytes, str]] = {
    "sound": (_whole(""), ""),
    "empty": (b"", "the file is empty"),
    "no YAML": (b"a: [b\n  c: }", "not valid YAML"),
    "no text": (bytes(range(256)) * 50, _NO_TEXT),
    "alias bomb": (_BOMB.encode(), "too large once aliases are written out"),
    "merge bomb": (_MERGES.encode(), "too many fields"),
    "circle": (_whole("budget: &a [*a]\n"), "too large once aliases are written out"),
    "nested 100000 times": (b"[" * 100000, "nested too deeply"),
    "nested by indents": (
        _whole("budget:\n" + "\n".join(" " * n + "a:" for n in range(1, 500))),
        "nested too deeply",
    ),
    "Python object": (
        _whole("device: !!python/object/apply:os.system ['touch /tmp/owned']"),
        "could not determine a constructor",
    ),
    "Python name": (
        _whole("device: !!python/name:os.system"),
        "could not determine a constructor",
    ),
    "a number": (b"5", "got a int; a specification has fields"),
    "a list": (b"- 1\n- 2\n", "got a list; a specification has fields"),
    "key twice": (_whole("name: b\n"), "name is given twice"),
    "key twice below": (_whole("budget: {minutes: 1, minutes: 90}\n"), "minutes is given twice"),
    "key twice in other words": (_whole('"\\x6eame": b\n'), "name is given twice"),
    "no models": (
        _whole("", "name: x\nmodels: []\nobjectives: {top1: max}\n" + _IMAGES),
        "^models: `models` must not be empty$",
    ),
    "keys of lists": (_whole("? [1, 2]\n: 3\n"), "found unhashable key"),
    "time": (_whole("device: 2020-13-45\n"), "a value cannot be read"),
    "whole number of 10000 digits": (
        _whole("budget: {minutes: " + "9" * 10000 + "}\n"),
        "a value cannot be read",
    ),
    "base 60": (_whole("budget: {minutes: 190:20:30:99}\n"), "^budget.minutes: must be a number"),
    "no finite number": (_whole("budget: {minutes: .nan}\n"), "must be a finite number, got nan"),
    "20 MB": (b"name: " + b"x" * (20 * 2**20), "larger than 262144 bytes"),
    "UTF-16": ("name: a".encode("utf-16"), _NO_TEXT),
    "two documents": (_whole("---\nname: y\n"), "another document"),
    "constraint that never ends": (
        _whole(f"constraints: ['{'(' * 5000}']"),
        r"^constraints(\[0\])?: '\({60}'?\.\.\.|^constraints(\[0\])?: '\(+",
    ),
    "constraint of spaces": (
        _whole(f"constraints: ['top1{' ' * 50000}>= x']"),
        r"^constraints(\[0\])?: 'top1 +",
    ),
    "device with a shell": (_whole("device: ssh://a@b/$(touch /tmp/owned)"), ""),
    "device of another kind": (
        _whole("device: file:///etc/passwd"),
        "device 'file:///etc/passwd' is unknown",
    ),
    "images of /proc": (_whole("workload: {images: /proc/self/fd}", _MODEL), "holds no images"),
    "home of nobody": (
        _whole("workload: {images: ~nobody-at-all/x}", _MODEL),
        "not a usable path",
    ),
    "path of 10000 letters": (
        _whole(f"workload: {{images: {'x' * 10000}}}", _MODEL),
        r"not a usable path \(too long\)",
    ),
}
