"""Recordings of devices: what is the same request, what is kept, what is refused."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.planner.specification.job import load_spec
from trimtab.profilers import Device, ProbeResult, RecordedDevice, RecordingDevice, connect
from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.errors import DeviceError, InferenceError, SpecificationError
from trimtab_runtime.probe.requests import FingerprintRequest


class Numbering(Device):
    """Another answer every time; the third is an error."""

    address = "numbers"

    def __init__(self) -> None:
        self.asked = 0

    def put(self, path: Path) -> str:
        return f"/on/the/device/{path.name}"

    def probe(self, request: Any, **how: Any) -> ProbeResult:
        self.asked += 1
        if self.asked == 3:
            raise InferenceError("the third time")
        return ProbeResult(
            {"number": float(self.asked), "tenth": 0.1},
            {"ms": [0.1, 1e-9]},
            ["unstable"],
            {"cpu": "abacus"},
            {"a": np.arange(self.asked, dtype=np.int64), "b": np.ones((2, 3), np.float32)},
        )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recording.jsonl"


def same(one: ProbeResult, other: ProbeResult) -> bool:
    bare = [dataclasses.replace(result, arrays={}) for result in (one, other)]
    return (
        bare[0] == bare[1]
        and one.arrays.keys() == other.arrays.keys()
        and all(
            np.array_equal(array, other.arrays[name]) and array.dtype == other.arrays[name].dtype
            for name, array in one.arrays.items()
        )
    )


def test_repeats_are_replayed_in_order_then_the_last_again(file: Path) -> None:
    recording = RecordingDevice(Numbering(), file)
    first, second = recording.probe(FingerprintRequest()), recording.probe(FingerprintRequest())
    recorded = RecordedDevice(file)
    found = [recorded.probe(FingerprintRequest()) for _ in range(3)]
    assert same(found[0], first)
    assert same(found[1], second)
    assert same(found[2], second)
    assert same(RecordedDevice(file).probe(FingerprintRequest()), first)


def test_failures_are_recorded(file: Path) -> None:
    recording = RecordingDevice(Numbering(), file)
    for _ in range(2):
        recording.probe(FingerprintRequest())
    with pytest.raises(InferenceError):
        recording.probe(FingerprintRequest())
    recorded = RecordedDevice(file)
    for _ in range(2):
        recorded.probe(FingerprintRequest())
    with pytest.raises(InferenceError, match=r"^the third time$"):
        recorded.probe(FingerprintRequest())


def test_content_makes_a_request_and_not_its_place(
    file: Path, tracing: Any, photos: Sequence[str], tmp_path: Path
) -> None:
    recording = RecordingDevice(Numbering(), file)
    places = [recording.put(Path(photo)) for photo in photos]
    assert places[0] == "/on/the/device/00.png"
    recording.probe(dataclasses.replace(tracing("small"), images=tuple(places)))
    moved = [
        str(shutil.copy(photo, tmp_path / f"moved-{n}.png")) for n, photo in enumerate(photos)
    ]
    recorded = RecordedDevice(file)
    request = tracing("small", [recorded.put(Path(path)) for path in moved])
    assert recorded.probe(request).values["number"] == 1.0
    assert recorded.probe(dataclasses.replace(request, output="/elsewhere")).values
    for other in (tracing("bytes", moved), tracing("small", moved[1:])):
        with pytest.raises(DeviceError, match="no answer to this trace request"):
            recorded.probe(other)
    Path(moved[3]).write_bytes(Path(moved[4]).read_bytes())
    with pytest.raises(DeviceError, match=r"record it with trimtab\.profilers\.RecordingDevice"):
        recorded.probe(request)


def test_another_bundle_is_another_request(file: Path, tmp_path: Path) -> None:
    (tmp_path / "a.pyz").write_text("a")
    (tmp_path / "b.pyz").write_text("b")
    recording = RecordingDevice(Numbering(), file)
    recording.probe(FingerprintRequest(), bundle=str(tmp_path / "a.pyz"))
    recorded = RecordedDevice(file)
    assert recorded.probe(FingerprintRequest(), bundle=str(tmp_path / "a.pyz")).values
    with pytest.raises(DeviceError, match="no answer"):
        recorded.probe(FingerprintRequest(), bundle=str(tmp_path / "b.pyz"))
    with pytest.raises(DeviceError, match="no answer"):
        recorded.fingerprint()


def test_a_torn_line_does_not_count_and_recording_goes_on(file: Path) -> None:
    RecordingDevice(Numbering(), file).probe(FingerprintRequest())
    whole = file.read_bytes()
    for length in (1, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole + whole[:length])
        recorded = RecordedDevice(file)
        assert [recorded.probe(FingerprintRequest()).values["number"] for _ in range(2)] == [1, 1]
        device = Numbering()
        device.asked = 1
        RecordingDevice(device, file).probe(FingerprintRequest())
        recorded = RecordedDevice(file)
        assert [recorded.probe(FingerprintRequest()).values["number"] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("text", ["no json\n", "[]\n", '{"key": "x"}\n', "1\n"])
def test_what_is_no_recording_is_refused(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(DeviceError, match=r"recording\.jsonl is no recording"):
        connect(f"recorded:{file}")


def test_a_missing_recording_is_named(file: Path) -> None:
    with pytest.raises(DeviceError, match=r"recording\.jsonl cannot be read"):
        connect(f"recorded:{file}")


def test_the_log_has_a_line_a_probe(
    file: Path, tracing: Any, models: dict[str, tuple[Path, Variant]], tmp_path: Path
) -> None:
    recording = RecordingDevice(Numbering(), file)
    recording.fingerprint()
    recording.probe(tracing("small"))
    log = tmp_path / "log"
    for _ in range(2):
        recorded = RecordedDevice(file, log)
        recorded.fingerprint()
        recorded.probe(tracing("small"))
    lines = [line.split() for line in log.read_text().splitlines()]
    assert [kind for _, kind in lines] == ["fingerprint", "trace"] * 2
    assert lines[:2] == lines[2:]
    assert len({key for key, _ in lines}) == 2


def test_a_specification_names_a_recording_beside_it(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        "{name: x, device: 'recorded:line.jsonl', models: [{path: a.onnx}], "
        "workload: {images: photos}, objectives: {top1: max}}"
    )
    found = load_spec(tmp_path / "job.yaml").device
    assert found.address == f"recorded:{tmp_path / 'line.jsonl'}"
    (tmp_path / "bad.yaml").write_text(
        (tmp_path / "job.yaml").read_text().replace("recorded:", "remembered:")
    )
    with pytest.raises(SpecificationError, match=r"device\.address: device 'remembered:line"):
        load_spec(tmp_path / "bad.yaml")
