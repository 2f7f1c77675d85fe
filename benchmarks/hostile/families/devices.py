"""Answers of boards that are broken, taken over, or not what they say."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.hostile.cases import Attempt, Case, Ended, Harmed
from trimtab.db import Store
from trimtab.profilers import LocalDevice, RecordedDevice
from trimtab.profilers.device import device_key
from trimtab.profilers.probe_answer import read_result
from trimtab_runtime.definitions.plan import InputFormat, OutputFormat, RuntimeOptions, Variant
from trimtab_runtime.probe.requests import (
    FingerprintRequest,
    MeasureRequest,
    RaceRequest,
    StageFile,
    TraceRequest,
    VerifyRequest,
)

_OPTIONS = RuntimeOptions("onnxruntime", "default", 1)
_IMAGES = ("a.png", "b.png", "c.png", "d.png")
_MUTATIONS = 40
_STALL_S = 1.0


def cases(seed: int) -> Iterator[Case]:
    """Hand-made programs and files, then honest answers of which a piece is changed."""
    for name, code in _PROGRAMS.items():
        yield Case(f"program-{name}", _program(code))
    for name, write in _FILES.items():
        yield Case(f"file-{name}", _file(write))
    yield Case("recording", _recording)
    yield Case("lies-about-itself", _liar)
    for number in range(_MUTATIONS):
        yield Case(f"mutated-{number:02}", _mutated)


# ---- programs that pose as a probe ----

_PRINTING = """import json, os, sys, time
def say(done, total):
    print(json.dumps({"done": done, "total": total}), flush=True)
"""
_WAIT = "\ntime.sleep(60)"
_PROGRAMS = {
    "floods-one-line": "while True: sys.stdout.write('x' * 65536)",
    "floods-lines": "while True: print('x')",
    "floods-progress": "n = 0\nwhile True:\n    n += 1\n    say(n, 10**9)",
    "floods-errors": "while True: print('x' * 4096, file=sys.stderr)",
    "says-it-works-for-ever": "while True:\n    say(0, 1)\n    time.sleep(0.2)",
    "goes-back-and-forth": "while True:\n    say(2, 3)\n    say(1, 3)\n    time.sleep(0.2)",
    "never-says-anything": "time.sleep(10**6)",
    "closes-its-output-and-stays": "os.close(1)\ntime.sleep(10**6)",
    "progress-of-texts": "say('a', 'b')\ntime.sleep(60)",
    "progress-of-lists": "say([[[]]], {})\ntime.sleep(60)",
    "progress-below-zero": "say(-1, -1)\ntime.sleep(60)",
    "progress-beyond-64-bits": "say(10**4000, 1)\ntime.sleep(60)",
    "progress-nested": "print('{' + '\"a\":{' * 700, flush=True)\ntime.sleep(60)",
    "progress-no-utf8": "os.write(1, b'{\\xff\\xfe}\\n')" + _WAIT,
    "dies-of-a-signal": "os.kill(os.getpid(), 11)",
    "no-result": "pass",
    "endless-result": "open('result.json', 'wb').truncate(2**40)",
    "result-is-a-folder": "os.mkdir('result.json')",
    "result-is-a-pipe": "os.mkfifo('result.json')",
    "arrays-are-a-pipe": "open('result.json', 'w').write('{}'); os.mkfifo('arrays.npz')",
    "result-is-endless-device": "os.symlink('/dev/zero', 'result.json')",
    "forks-and-leaves": "if os.fork() == 0: time.sleep(20)",
}


def _program(code: str) -> Callable[[Attempt], None]:
    def run(attempt: Attempt) -> None:
        place = attempt.folder / "runtime" / "trimtab_runtime" / "probe"
        place.mkdir(parents=True)
        for package in (place, place.parent):
            (package / "__init__.py").touch()
        (place / "__main__.py").write_text(f"{_PRINTING}{code}\n", encoding="utf-8")
        bundle = str(attempt.folder / "runtime")
        LocalDevice(stall_s=_STALL_S).probe(FingerprintRequest(), bundle=bundle)
        raise Harmed("it passed for an answer")

    return run


# ---- files that pose as an answer ----


def _npy(shape: str, kind: str, content: bytes = b"") -> bytes:
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text = text.ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def _zipped(*entries: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return found.getvalue()


def _bomb() -> bytes:
    found = io.BytesIO()
    with (
        zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("outputs.npy", "w", force_zip64=True) as stream,
    ):
        stream.write(_npy("(4, 134217728)", "<f4"))
        for _ in range(32):
            stream.write(bytes(2**26))
    return found.getvalue()


_FILES: dict[str, Callable[[], bytes]] = {
    "bomb": _bomb,
    "huge-header": lambda: _zipped(("outputs.npy", _npy("(4, 1099511627776)", "<f4"))),
    "short-content": lambda: _zipped(("outputs.npy", _npy("(4, 10)", "<f4", bytes(8)))),
    "objects": lambda: _zipped(("outputs.npy", _npy("(4, 1)", "|O", bytes(32)))),
    "no-size": lambda: _zipped(("outputs.npy", _npy("(4, 1099511627776)", "<U0"))),
    "below-zero": lambda: _zipped(("outputs.npy", _npy("(-4, -1)", "<f4", bytes(16)))),
    "header-is-code": lambda: _zipped(("outputs.npy", _npy("__import__('os')", "<f4"))),
    "header-nested": lambda: _zipped(("outputs.npy", _npy("(" * 100, "<f4"))),
    "no-array": lambda: _zipped(("outputs.npy", b"no array")),
    "no-zip": lambda: b"no zip",
    "empty": lambda: b"",
    "cut": lambda: _zipped(("outputs.npy", _npy("(4, 10)", "<f4", bytes(160))))[:150],
    "path": lambda: _zipped(("../../outputs.npy", _npy("(4, 1)", "<f4", bytes(16)))),
    "many": lambda: _zipped(*((f"a{n}.npy", b"") for n in range(5000))),
    "text": lambda: _zipped(("outputs.npy", _npy("(4, 1)", "<U4", bytes(64)))),
    "infinite": lambda: _zipped(("outputs.npy", _npy("(4, 1)", "<f4", b"\0\0\x80\x7f" * 4))),
}


def _file(write: Callable[[], bytes]) -> Callable[[Attempt], None]:
    def run(attempt: Attempt) -> None:
        told = {"status": "ok", "values": {}, "samples": {}, "warnings": []}
        (attempt.folder / "result.json").write_text(json.dumps(told), encoding="utf-8")
        (attempt.folder / "arrays.npz").write_bytes(write())
        read_result(attempt.folder, _trace())
        raise Harmed("it passed for an answer")

    return run


def _recording(attempt: Attempt) -> None:
    """Lines of a file that somebody sent."""
    file = attempt.folder / "line.jsonl"
    entry = {"key": "k", "kind": "fingerprint", "progress": [[1]], "result": {"arrays": "x"}}
    file.write_text(json.dumps(entry) + "\n", encoding="utf-8")
    RecordedDevice(file).fingerprint()


def _liar(attempt: Attempt) -> None:
    """A board with this machine's fingerprint."""
    fingerprint = LocalDevice().fingerprint()
    with Store.open(attempt.folder / "store.db") as store:
        own = store.meet_device("local", fingerprint, LocalDevice().identity())
        board = store.meet_device("ssh://board", fingerprint, "SHA256:of the board")
        again = store.known_as("local", fingerprint, LocalDevice().identity())
    if own.key != device_key(fingerprint) or again.key != own.key:
        raise Ended("this machine is no longer itself")
    if board.key == own.key:
        raise Harmed("measurements of the board count as this machine's")


# ---- honest answers of which a piece is changed ----

_FORMAT = InputFormat(size=(8, 8))


def _stage() -> StageFile:
    output = OutputFormat(kind="logits")
    return StageFile("m.onnx", Variant("m", "0" * 64, "onnx", 9, _FORMAT, output), _OPTIONS)


def _trace() -> TraceRequest:
    return TraceRequest(_stage(), _IMAGES, "")


def _honest(rng: np.random.Generator) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """A request with an answer to it, and arrays."""
    times = [1.0, 2.0, 1.5]
    parts = ("resize", "tensor", "inference")
    measured = {f"0_{c}_{p}_ms": times for c in ("beside", "hot") for p in parts}
    whole = np.zeros(4, np.int64)
    answers = {name: whole for name in ("index", "entry", "stage", "by")} | {"tap": whole - 1}
    answers |= {"confidence": np.ones(4, np.float32), "latency_ms": np.ones(4)}
    choices: list[tuple[Any, dict[str, Any], dict[str, Any]]] = [
        (FingerprintRequest(), {"fingerprint": {"cpu": "x", "cores": "2"}}, {}),
        (_trace(), {"values": {"classes": 2.0}}, {"outputs": np.ones((4, 2), np.float32)}),
        (MeasureRequest((_stage(),), _IMAGES), {"samples": measured}, {}),
        (RaceRequest(("a", "b"), _OPTIONS, 3), {"samples": {"0_ms": times, "1_ms": times}}, {}),
        (VerifyRequest("p.pyz", _IMAGES, "", 2), {"samples": {}}, answers),
    ]
    request, told, arrays = choices[rng.integers(len(choices))]
    paced = [1.0, 1.1] if isinstance(request, VerifyRequest) else times
    samples = {"reference_ms": paced, **told.get("samples", {})}
    values = {"unsteadiness": 0.1, "load_ms": 3.0, **told.get("values", {})}
    whole_answer = {"status": "ok", "warnings": ["busy"], "details": {"energy": "x"}}
    return request, {**whole_answer, **told, "values": values, "samples": samples}, arrays


_WRONG: tuple[Any, ...] = (
    *(None, True, -1, 10**400, 1e308, "", "\x1b[31m", [], {}, [[[]]], {"": None}, "7", [None]),
    *(["x"] * 10_000, "x" * 10**6, {str(n): 0.5 for n in range(10_000)}),
)


def _mutated(attempt: Attempt) -> None:
    """A few pieces of an honest answer are others, or gone. It is refused, or what is left is
    sound: numbers that are finite, and arrays of the shapes that were asked for."""
    rng = attempt.rng
    request, answer, arrays = _honest(rng)
    for _ in range(rng.integers(1, 4)):
        _spoil(answer, rng)
    if arrays and rng.random() < 0.5:
        name = str(rng.choice(sorted(arrays)))
        arrays = {**arrays, name: _spoilt(arrays[name], rng)}
    (attempt.folder / "result.json").write_text(json.dumps(answer), encoding="utf-8")
    if arrays:
        np.savez(attempt.folder / "arrays.npz", **arrays)
    found = read_result(attempt.folder, request)
    numbers = [*found.values.values(), *(t for s in found.samples.values() for t in s)]
    if not np.isfinite(np.array(numbers, np.float64)).all():
        raise Harmed("a number that is none passed")


def _spoil(answer: dict[str, Any], rng: np.random.Generator) -> None:
    place: Any = answer
    while True:
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.integers(len(place))
        key = str(key) if isinstance(place, dict) else int(key)
        below = place[key]
        if isinstance(below, (dict, list)) and below and rng.random() < 0.7:
            place = below
            continue
        if rng.random() < 0.3:
            del place[key]
        else:
            place[key] = _WRONG[rng.integers(len(_WRONG))]
        return


def _spoilt(array: Any, rng: np.random.Generator) -> Any:
    return [
        array[:-1],
        array.reshape(-1, 1),
        array.astype(np.complex64),
        np.full_like(array, -(2**31)),
        array.astype(str),
        array[..., None],
    ][rng.integers(6)]
