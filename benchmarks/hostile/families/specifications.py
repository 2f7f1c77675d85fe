"""Specifications that are damaged, hostile, or only unusual."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks._options import SUPPORT
from benchmarks.hostile.cases import Attempt, Case
from trimtab.planner.specification.job import load_spec

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
    for name, text in _TEXTS.items():
        yield Case(name, partial(_text, text))
    yield Case("pipe", _pipe)
    yield Case("link to /dev/zero", _endless)
    yield Case("folder", lambda attempt: _loaded(attempt.folder))
    for number in range(_MUTATED):
        yield Case(f"odd values {number}", _mutated)
    for number in range(_BYTES):
        yield Case(f"altered bytes {number}", _altered)
    for name in ("alias bomb", "nested 100000 times", "no YAML"):
        yield Case(f"command: {name}", partial(_command, _TEXTS[name]))


def _loaded(path: Path) -> None:
    load_spec(path)


def _text(text: bytes, attempt: Attempt) -> None:
    path = attempt.folder / "job.yaml"
    path.write_bytes(text)
    _loaded(path)


def _pipe(attempt: Attempt) -> None:
    os.mkfifo(attempt.folder / "job.yaml")
    _loaded(attempt.folder / "job.yaml")


def _endless(attempt: Attempt) -> None:
    (attempt.folder / "job.yaml").symlink_to("/dev/zero")
    _loaded(attempt.folder / "job.yaml")


def _command(text: bytes, attempt: Attempt) -> None:
    (attempt.folder / "job.yaml").write_bytes(text)
    attempt.trimtab("plan", "job.yaml", statuses=(1, 2))


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
_MODEL = "models: [{path: x.onnx}]\nobjectives: {top1: max}\n"
#: What stands in the file.
_TEXTS: dict[str, bytes] = {
    "empty": b"",
    "no YAML": b"a: [b\n  c: }",
    "no text": bytes(range(256)) * 50,
    "alias bomb": _BOMB.encode(),
    "merge bomb": _MERGES.encode(),
    "circle": b"a: &a [*a]\n",
    "nested 100000 times": b"[" * 100000,
    "nested by indents": "\n".join(" " * n + "a:" for n in range(3000)).encode(),
    "Python object": b"!!python/object/apply:os.system ['touch /tmp/owned']",
    "Python name": b"models: !!python/name:os.system",
    "a number": b"5",
    "a list": b"- 1\n- 2\n",
    "key twice": b"name: a\nname: b\n",
    "no models": b"name: a\nmodels: []\n",
    "keys of lists": b"? [1, 2]\n: 3\n",
    "time": b"name: 2020-01-01\nmodels: 2020-13-45\n",
    "whole number of 10000 digits": b"budget: {minutes: " + b"9" * 10000 + b"}\n",
    "base 60": b"budget: {minutes: 190:20:30:99}\n",
    "20 MB": b"name: " + b"x" * (20 * 2**20),
    "UTF-16": "name: a".encode("utf-16"),
    "constraint that never ends": (_MODEL + f"constraints: ['{'(' * 5000}']").encode(),
    "constraint of spaces": (_MODEL + f"constraints: ['top1{' ' * 50000}>= x']").encode(),
    "device with a shell": (_MODEL + "device: ssh://a@b/$(touch /tmp/owned)").encode(),
    "images of /": (_MODEL + "workload: {images: /proc/self/fd}").encode(),
    "home of nobody": (_MODEL + "workload: {images: ~nobody-at-all/x}").encode(),
    "path of 10000 letters": (_MODEL + f"workload: {{images: {'x' * 10000}}}").encode(),
}
