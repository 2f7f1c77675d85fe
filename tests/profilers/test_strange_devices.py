"""A device is a stranger: whatever it prints or writes, its asker stays small and says why."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.profilers import LocalDevice, RecordedDevice
from trimtab.profilers import probe_process as process
from trimtab.profilers.probe_answer import read_result
from trimtab.profilers.probe_arrays import read_arrays
from trimtab_runtime.errors import DeviceError, ModelError
from trimtab_runtime.probe.requests import FingerprintRequest, MeasureRequest, TraceRequest

OK = {"status": "ok", "values": {}, "samples": {}, "warnings": [], "fingerprint": {"cpu": "x"}}
TRACE = {"status": "ok", "values": {"classes": 3.0}, "samples": {}, "warnings": []}


def written(folder: Path, answer: Any, request: Any, **arrays: Any) -> Any:
    """What is made of an answer, as text or to be written as JSON."""
    text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    (folder / "result.json").write_bytes(text)
    if arrays:
        np.savez(folder / "arrays.npz", **arrays)
    return read_result(folder, request)


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        (b"", "what is no JSON"),
        (b"\xff\xfe{", "what is no JSON"),
        (b"[" * 100_000, "what is no JSON"),
        (b'{"status": "ok", "values": {"a": 1e999}, "samples": {}}', r"values\.a: expected a fin"),
        (
            b'{"status": "ok", "values": {"a": NaN}, "samples": {}}',
            r"values\.a: expected a finite",
        ),
        (b"1" * 5000, "what is no JSON"),
        (None, "status: must be"),
        ([], "status: must be"),
        ({}, "status: must be"),
        ({"status": "fine"}, "status: must be"),
        ({"status": ["ok"]}, "status: must be"),
        ({"status": "ok"}, "values: missing"),
        ({**OK, "values": []}, "values: expected an object"),
        ({**OK, "values": {"a": "7"}}, r"values\.a: expected float"),
        ({**OK, "values": {"a": True}}, r"values\.a: expected float"),
        ({**OK, "values": {"load_ms": -1}}, r"values\.load_ms: must not be negative"),
        ({**OK, "samples": {"a": 3}}, r"samples\.a: expected a list"),
        ({**OK, "samples": {"a": [1, None]}}, r"samples\.a\[1\]: expected float"),
        ({**OK, "samples": {"a_ms": [1, -1]}}, r"samples\.a_ms: must not be negative"),
        ({**OK, "warnings": "none"}, "warnings: expected a list"),
        ({**OK, "warnings": ["x"] * 1000}, "more than 200 texts"),
        ({**OK, "warnings": ["x" * 5000]}, "long ones"),
        ({**OK, "details": [3]}, "details: expected an object"),
        ({**OK, "details": {"a": [0.5] * 5000}}, "long ones"),
        ({**OK, "fingerprint": {"cpu": 3}}, r"fingerprint\.cpu: expected str"),
        ({**OK, "fingerprint": {}}, "fingerprint: missing"),
        ({**OK, "arrays": {}}, "arrays: have no place"),
        ({**OK, "surprise": 1}, "unknown field 'surprise'"),
        ({"status": "failed"}, "error: missing"),
        ({"status": "failed", "error": 3, "reason": "why"}, "error: expected str"),
        ({"status": "failed", "error": "ModelError", "reason": None}, "reason: expected str"),
    ],
)
def test_an_answer_that_does_not_fit_is_named_by_its_field(
    tmp_path: Path, answer: Any, field: str
) -> None:
    with pytest.raises(DeviceError, match=field) as told:
        written(tmp_path, answer, FingerprintRequest())
    assert len(str(told.value)) < 1000


def test_a_fit_answer_is_taken(tmp_path: Path) -> None:
    assert written(tmp_path, OK, FingerprintRequest()).fingerprint == {"cpu": "x"}
    failed = {"status": "failed", "error": "ModelError", "reason": "why" * 10_000}
    with pytest.raises(ModelError) as told:
        written(tmp_path, failed, FingerprintRequest())
    assert len(str(told.value)) == 4000


def test_what_an_answer_lacks_is_the_devices_fault(tmp_path: Path) -> None:
    found = written(tmp_path, OK, FingerprintRequest())
    assert "a" not in found.values
    assert found.values.get("a") is None
    with pytest.raises(DeviceError, match=r"samples\.a: missing"):
        found.samples["a"]


def test_an_answer_without_end_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "result.json").open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(DeviceError, match=r"result\.json: more than 16 MB"):
        read_result(tmp_path, FingerprintRequest())


@pytest.fixture
def asked(tracing: Callable[..., TraceRequest]) -> TraceRequest:
    return tracing("small")


@pytest.mark.parametrize(
    ("arrays", "field"),
    [
        ({"outputs": np.zeros((11, 3), np.float32)}, r"arrays\.outputs: must be \(12, any\)"),
        ({"outputs": np.zeros((12, 0), np.float32)}, r"arrays\.outputs: must be \(12, any\)"),
        ({"outputs": np.zeros(12, np.float32)}, r"arrays\.outputs: must be \(12, any\)"),
        ({"outputs": np.zeros((12, 3), np.int64)}, r"got \(12, 3\) int64"),
        ({"outputs": np.full((12, 3), np.nan, np.float32)}, r"arrays\.outputs: holds NaN"),
        ({"output": np.zeros((12, 3), np.float32)}, r"arrays\.outputs: missing"),
    ],
)
def test_arrays_must_answer_what_was_asked(
    tmp_path: Path, asked: TraceRequest, arrays: dict[str, Any], field: str
) -> None:
    with pytest.raises(DeviceError, match=field):
        written(tmp_path, TRACE, asked, **arrays)
    fit = written(tmp_path, TRACE, asked, outputs=np.ones((12, 3), np.float32))
    assert fit.arrays["outputs"].sum() == 36


def test_samples_must_answer_what_was_asked(
    tmp_path: Path, measuring: Callable[..., MeasureRequest], device: LocalDevice
) -> None:
    request = measuring("small", "bytes")
    honest = device.probe(request)
    answer: dict[str, Any] = {
        "status": "ok",
        "values": dict(honest.values),
        "samples": dict(honest.samples),
        "warnings": [],
    }
    written(tmp_path, answer, request)
    for name, times in honest.samples.items():
        if name != "reference_ms" and not name[0].isdigit():
            continue  # what not every device can tell
        for wrong in ({}, {name: []}, {name: [0.0] * len(times)}, {name: times[1:]}):
            samples = {k: v for k, v in honest.samples.items() if k != name}
            spoilt = {**answer, "samples": {**samples, **wrong}}
            if wrong and (name != "reference_ms" or wrong[name] == times[1:]) and wrong[name]:
                continue  # zero is a time, and some measure less often
            with pytest.raises(DeviceError, match="samples"):
                written(tmp_path, spoilt, request)


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def packed(*entries: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> io.BytesIO:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    found.seek(0)
    return found


HEADER = "{{'descr': {0!r}, 'fortran_order': False, 'shape': {1}, }}"


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (npy(HEADER.format("<f8", (2**40,))), "does not fit its content"),
        (npy(HEADER.format("<f8", (3,)), bytes(16)), "does not fit its content"),
        (npy(HEADER.format("<f8", (-1,)), bytes(8)), "."),
        (npy(HEADER.format("|O", (1,)), bytes(8)), "does not fit its content"),
        (npy(HEADER.format("<U0", (2**40,))), "does not fit its content"),
        (npy(HEADER.format("nonsense", (1,)), bytes(8)), "."),
        (npy("__import__('os').abort()"), "."),
        (npy("(" * 100), "."),
        (b"\x93NUMPY", "."),
        (b"", "."),
    ],
)
def test_headers_are_looked_at_first(entry: bytes, told: str) -> None:
    with pytest.raises(DeviceError, match=told):
        read_arrays(packed(("a.npy", entry)), 2**20)


def test_archives_take_no_more_than_they_are(tmp_path: Path) -> None:
    zeros = io.BytesIO()
    np.save(zeros, np.zeros(2**20))
    bomb = packed(("a.npy", zeros.getvalue()), method=zipfile.ZIP_DEFLATED)
    with pytest.raises(DeviceError, match="is compressed"):
        read_arrays(bomb, 2**30)
    assert read_arrays(bomb, 2**30, packed=True)["a"].shape == (2**20,)
    with pytest.raises(DeviceError, match="more than 1 MB"):
        read_arrays(bomb, 2**20, packed=True)
    with pytest.raises(DeviceError, match="two of a name"), pytest.warns(UserWarning):
        read_arrays(packed(("a.npy", b""), ("a.npy", b"")), 2**20)
    (tmp_path / "cut").write_bytes(bomb.getvalue()[:500])
    with pytest.raises(DeviceError, match=r"arrays\.npz"):
        read_arrays(tmp_path / "cut", 2**20)


@pytest.fixture
def prints(tmp_path: Path) -> Callable[[str], str]:
    """A runtime whose probe runs this code."""

    def make(code: str) -> str:
        place = tmp_path / "strange" / "trimtab_runtime" / "probe"
        place.mkdir(parents=True)
        (place.parent / "__init__.py").touch()
        (place / "__init__.py").touch()
        (place / "__main__.py").write_text(f"import sys, time\n{code}\n")
        return str(tmp_path / "strange")

    return make


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("while True: sys.stdout.write('x' * 65536)", "printed more than 1 MB"),
        ("while True: print('x')", "printed more than 1 MB"),
        ("print(STEP % (2, 1), flush=True); time.sleep(60)", "0 <= done <= total"),
        ("print(STEP % ([], 1), flush=True); time.sleep(60)", "done: expected int"),
        ("print('{' * 5000, flush=True); time.sleep(60)", "what is no JSON"),
        ("print('{\"done\": 1}', flush=True); time.sleep(60)", "total: missing"),
        ("pass", r"result\.json: No such file"),
        ("sys.exit('\\x1b[31m' + 'x' * 10**6)", "status 1: x+$"),
    ],
)
def test_a_probe_may_print_what_it_likes(
    prints: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, code: str, told: str
) -> None:
    monkeypatch.setattr(process, "MOST_PRINTED", 2**20)
    step = 'STEP = \'{"done": %s, "total": %s}\'\n'
    with pytest.raises(DeviceError, match=told):
        LocalDevice().probe(FingerprintRequest(), bundle=prints(step + code))


def test_what_it_prints_as_errors_is_no_sign_of_life(prints: Callable[[str], str]) -> None:
    code = "while True: print('x' * 10000, file=sys.stderr)"
    with pytest.raises(process.ProbeStalled, match="no sign of life"):
        LocalDevice(stall_s=1.0).probe(FingerprintRequest(), bundle=prints(code))


class Clock:
    """Time passes when it is asked for."""

    def __init__(self, step_s: float) -> None:
        self.now, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([(0, 9)] * 5000, "got no further for 1200 s"),
        ([(3, 9), (2, 9)] * 2500, "got no further for 1200 s"),
        ([(n, 10**6) for n in range(9000)], "took more than 9000 s"),
    ],
)
def test_progress_must_advance_and_a_step_must_end(
    steps: list[tuple[int, int]], told: str
) -> None:
    lines = process.Lines()
    for done, total in steps:
        assert lines.feed(b'{"done": %d, "total": %d}\n' % (done, total))
    with pytest.raises(process.ProbeStalled, match=told):
        process.follow(lines, 120.0, None, 9000.0, Clock(1.0))


def test_progress_that_advances_goes_on() -> None:
    lines, seen = process.Lines(), []
    for done in range(9):
        lines.feed(b'{"done": %d, "total": 8}\nand other words\n' % done)
    lines.end()
    process.follow(lines, 120.0, lambda *step: seen.append(step), 9000.0, Clock(20.0))
    assert seen == [(done, 8) for done in range(9)]


def test_a_recording_is_a_stranger_too(tmp_path: Path, device: LocalDevice) -> None:
    from trimtab.profilers import RecordingDevice

    file = tmp_path / "line.jsonl"
    RecordingDevice(device, file).fingerprint()
    whole = json.loads(file.read_text())
    recorded = RecordedDevice(file)
    assert recorded.identity() == ""
    assert recorded.fingerprint()
    assert recorded.identity() == device.identity() != ""
    for wrong in (None, {"arrays": 3}, {"arrays": "???"}, {**whole["result"], "values": 3}):
        file.write_text(json.dumps({**whole, "result": wrong}) + "\n")
        with pytest.raises(DeviceError):
            RecordedDevice(file).fingerprint()
