"""Answers of boards that are broken, taken over, or not what they say."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hostile.cases import Attempt, Case, Ended, Harmed
from benchmarks.hostile.families.device_programs import program_cases
from trimtab.db import Store
from trimtab.profilers import InProcessDevice, LocalDevice, RecordedDevice, RecordingDevice
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
_UNUSABLE = "the device's answer cannot be used: "
#: What is said of an answer in which something is of another kind.
_OF_A_FIELD = (
    _UNUSABLE + r"(status|values|samples|warnings|details|fingerprint|arrays|error|reason)"
)


def cases(seed: int) -> Iterator[Case]:
    """Hand-made programs and files, then honest answers of which a piece is changed."""
    yield from program_cases()
    for name, (write, refused) in _FILES.items():
        yield Case(f"file-{name}", _file(write), refused)
    for name, (change, refused) in _RECORDINGS.items():
        yield Case(f"recording-{name}", _recording(change), refused)
    yield Case("lies-about-itself", _liar)
    for number in range(_MUTATIONS):
        yield Case(f"mutated-{number:02}", _mutated, _OF_A_FIELD, either=True)


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


def _misfit(what: str = "does not fit its content") -> str:
    return f"{_UNUSABLE}arrays.*{what}"


Write = Callable[[Path], Any]


def _content(make: Callable[[], bytes]) -> Write:
    return lambda path: path.write_bytes(make())


#: What lies where arrays are expected, and how that is told.
_FILES: dict[str, tuple[Write, str]] = {
    name: (_content(make), refused)
    for name, (make, refused) in {
        "bomb": (_bomb, _misfit("more than 66 MB")),
        "huge-header": (
            lambda: _zipped(("outputs.npy", _npy("(4, 1099511627776)", "<f4"))),
            _misfit(),
        ),
        "short-content": (
            lambda: _zipped(("outputs.npy", _npy("(4, 10)", "<f4", bytes(8)))),
            _misfit(),
        ),
        "objects": (lambda: _zipped(("outputs.npy", _npy("(4, 1)", "|O", bytes(32)))), _misfit()),
        "no-size": (
            lambda: _zipped(("outputs.npy", _npy("(4, 1099511627776)", "<U0"))),
            _misfit(),
        ),
        "below-zero": (
            lambda: _zipped(("outputs.npy", _npy("(-4, -1)", "<f4", bytes(16)))),
            _misfit(),
        ),
        "header-is-code": (
            lambda: _zipped(("outputs.npy", _npy("__import__('os')", "<f4"))),
            _misfit("malformed node"),
        ),
        "header-nested": (
            lambda: _zipped(("outputs.npy", _npy("(" * 100, "<f4"))),
            _misfit("npz: "),
        ),
        "no-array": (lambda: _zipped(("outputs.npy", b"no array")), _misfit("magic string")),
        "no-zip": (lambda: b"no zip", _misfit("not a zip file")),
        "empty": (lambda: b"", _misfit("not a zip file")),
        "cut": (
            lambda: _zipped(("outputs.npy", _npy("(4, 10)", "<f4", bytes(160))))[:150],
            _misfit("not a zip file"),
        ),
        "path": (
            lambda: _zipped(("../../outputs.npy", _npy("(4, 1)", "<f4", bytes(16)))),
            _misfit("outputs: missing"),
        ),
        "many": (
            lambda: _zipped(*((f"a{n}.npy", b"") for n in range(5000))),
            _misfit("1000 arrays"),
        ),
        "text": (
            lambda: _zipped(("outputs.npy", _npy("(4, 1)", "<U4", bytes(64)))),
            _misfit("must be"),
        ),
        "infinite": (
            lambda: _zipped(("outputs.npy", _npy("(4, 1)", "<f4", b"\0\0\x80\x7f" * 4))),
            _misfit("holds NaN or infinity"),
        ),
    }.items()
} | {
    "a-pipe": (os.mkfifo, _misfit("is no file")),
    "a-folder": (lambda path: path.mkdir(), _misfit("is no file")),
    "endless": (lambda path: path.symlink_to("/dev/zero"), _misfit("is no file")),
    "nothing": (lambda path: None, _misfit("missing")),
}


def _file(write: Write) -> Callable[[Attempt], None]:
    def run(attempt: Attempt) -> None:
        told = {"status": "ok", "values": {"classes": 1.0}, "samples": {}, "warnings": []}
        (attempt.folder / "result.json").write_text(json.dumps(told), encoding="utf-8")
        write(attempt.folder / "arrays.npz")
        read_result(attempt.folder, _trace())
        raise Harmed("it passed for an answer")

    return run


Change = Callable[[dict[str, Any]], Any]
#: What of the line of a recording, which somebody sent, is another; and how that is told.
_RECORDINGS: dict[str, tuple[Change, str]] = {
    "as-it-was": (lambda entry: None, ""),
    "progress": (lambda entry: entry.update(progress=[[1]]), "progress"),
    "progress-of-text": (lambda entry: entry.update(progress="x"), "progress"),
    "arrays": (lambda entry: entry["result"].update(arrays="x"), "arrays"),
    "values": (lambda entry: entry["result"].update(values={"a": []}), "values"),
    "fingerprint": (lambda entry: entry["result"].update(fingerprint=3), "fingerprint"),
    "result": (lambda entry: entry.update(result=[]), "without its arrays"),
    "error-of-lists": (lambda entry: entry.update(error=[[]]), "error"),
    "error-without-reason": (
        lambda entry: entry.update(error="ModelError", reason=None),
        "reason",
    ),
    "error": (
        lambda entry: (entry.pop("result"), entry.update(error="SystemExit", reason="x")),
        "x",
    ),
    "key": (lambda entry: entry.update(key=[1]), "is no recording of a device"),
    "nothing": (lambda entry: entry.clear(), "is no recording of a device"),
}


def _recording(change: Change) -> Callable[[Attempt], None]:
    def run(attempt: Attempt) -> None:
        file = attempt.folder / "line.jsonl"
        RecordingDevice(InProcessDevice(), file).fingerprint()
        entry = json.loads(file.read_text(encoding="utf-8"))
        change(entry)
        file.write_text(json.dumps(entry) + "\n", encoding="utf-8")
        device = RecordedDevice(file)
        device.probe(FingerprintRequest(), progress=lambda done, total: None)

    return run


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
        names = [name for name in place if name != "status"]  # or half of them would be about that
        key = rng.choice(names) if isinstance(place, dict) else rng.integers(len(place))
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
