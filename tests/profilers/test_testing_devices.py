"""The devices for tests: what is asked of the device below, and what of the file."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from trimtab.planner.bundles.archive import BundleParts, write_bundle
from trimtab.profilers import (
    Device,
    DeviceLost,
    InProcessDevice,
    LocalDevice,
    ProbeResult,
    RecordedDevice,
    RecordOrReplayDevice,
    SteadyDevice,
)
from trimtab_runtime.definitions.plan import (
    OperatingPoint,
    PlanDefinition,
    RuntimeOptions,
    Stage,
    Structure,
)
from trimtab_runtime.engines import format_engine
from trimtab_runtime.errors import DeviceError, InferenceError
from trimtab_runtime.probe.requests import (
    FingerprintRequest,
    MeasureSettings,
    TraceRequest,
    VerifyRequest,
)


class Counting(Device):
    """Tells how often it was asked; the times in `fails` it fails instead."""

    address = "counting"

    def __init__(self, fails: dict[int, Exception] | None = None) -> None:
        self.asked, self._fails = 0, fails or {}
        self.meanwhile = lambda: None

    def put(self, path: Path) -> str:
        return f"/on/the/device/{path.name}"

    def probe(self, request: Any, *, progress: Any = None, **how: Any) -> ProbeResult:
        self.asked += 1
        if progress is not None:
            progress(self.asked, 9)
        self.meanwhile()
        if self.asked in self._fails:
            raise self._fails[self.asked]
        return ProbeResult({"number": float(self.asked)}, {})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "line.jsonl"


def number(device: Device, **how: Any) -> float:
    return device.probe(FingerprintRequest(), **how).values["number"]


def test_a_request_is_asked_once_by_all_who_share_the_file(file: Path) -> None:
    first, second = Counting(), Counting()
    one, other = RecordOrReplayDevice(first, file), RecordOrReplayDevice(second, file)
    assert [number(one), number(one), number(other)] == [1.0, 1.0, 1.0]
    assert number(RecordedDevice(file)) == 1.0
    assert (first.asked, second.asked) == (1, 0)
    assert (one.address, one.put(Path("/a/b.png"))) == ("counting", "/on/the/device/b.png")


def test_progress_is_that_of_the_device_then_of_the_file(file: Path) -> None:
    device = RecordOrReplayDevice(Counting(), file)
    seen: list[tuple[int, int]] = []
    for _ in range(2):
        number(device, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 9), (1, 9)]


def test_another_request_is_another_answer(
    file: Path, tracing: Any, photos: Sequence[str]
) -> None:
    below = Counting()
    device = RecordOrReplayDevice(below, file)
    requests: list[TraceRequest] = [
        tracing("small"),
        tracing("bytes"),
        tracing("small", photos[1:]),
    ]
    found = [device.probe(request).values["number"] for request in requests * 2]
    assert found == [1.0, 2.0, 3.0] * 2


def test_an_error_is_an_answer(file: Path) -> None:
    below = Counting({1: InferenceError("nan on 3.png")})
    device = RecordOrReplayDevice(below, file)
    for _ in range(2):
        with pytest.raises(InferenceError, match=r"^nan on 3\.png$"):
            number(device)
    assert below.asked == 1


def test_a_lost_device_gave_no_answer(file: Path) -> None:
    below = Counting({1: DeviceLost("gone")})
    device = RecordOrReplayDevice(below, file)
    with pytest.raises(DeviceLost, match="gone"):
        number(device)
    assert number(device) == 2.0


def test_of_two_at_the_same_time_the_first_answer_counts(file: Path) -> None:
    slow, quick = Counting(), Counting()
    quick.asked = 10
    slow.meanwhile = lambda: found.append(number(RecordOrReplayDevice(quick, file)))
    found: list[float] = []
    found.append(number(RecordOrReplayDevice(slow, file)))
    assert found == [11.0, 11.0]
    assert len(file.read_bytes().splitlines()) == 1


def test_threads_share_one(file: Path, tracing: Any, photos: Sequence[str]) -> None:
    device = RecordOrReplayDevice(Counting(), file)
    requests = [tracing("small", photos[:count]) for count in range(1, 9)]

    def ask_all() -> None:
        found.append([device.probe(request).values["number"] for request in requests])

    found: list[list[float]] = []
    threads = [threading.Thread(target=ask_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(numbers == found[0] for numbers in found)
    assert len(file.read_bytes().splitlines()) == 8


def test_a_torn_line_is_asked_again(file: Path) -> None:
    number(RecordOrReplayDevice(Counting(), file))
    file.write_bytes(file.read_bytes()[:-9])
    below = Counting()
    below.asked = 4
    device = RecordOrReplayDevice(below, file)
    assert [number(device), number(device)] == [5.0, 5.0]
    assert number(RecordedDevice(file)) == 5.0


def test_a_recording_that_cannot_be_written_is_told(file: Path) -> None:
    device = RecordOrReplayDevice(Counting(), file)
    file.unlink()
    with pytest.raises(DeviceError, match=r"line\.jsonl cannot be read"):
        number(device)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no cores to be bound to")
def test_a_measurement_leaves_this_process_all_its_cores(measuring: Any) -> None:
    cores = os.sched_getaffinity(0)
    assert InProcessDevice().probe(measuring("small")).values["load_ms"] > 0
    assert os.sched_getaffinity(0) == cores


def test_steady_times_follow_the_sizes_of_files(measuring: Any, models: Any) -> None:
    device = SteadyDevice(InProcessDevice())
    found = device.probe(measuring("small", "bytes"))
    real = InProcessDevice().probe(measuring("small", "bytes"))
    assert {name: len(times) for name, times in found.samples.items()} == {
        name: len(times) for name, times in real.samples.items()
    }
    for number, name in enumerate(("small", "bytes")):
        expected = 0.05 + models[name][0].stat().st_size / 2**20
        times = found.samples[f"{number}_beside_inference_ms"]
        assert times == pytest.approx([expected * 0.99, expected * 1.01] * 5)
    assert set(found.samples["reference_ms"]) == {2.0}
    assert found.samples["0_hot_resize_ms"] == pytest.approx([0.02] * 30, rel=0.011)
    assert (found.warnings, found.values["unsteadiness"]) == ([], 0.0)
    assert device.probe(measuring("small", "bytes")).samples == found.samples


def test_steady_memory_follows_the_sizes_of_files(measuring: Any, models: Any) -> None:
    found = SteadyDevice(InProcessDevice()).probe(measuring("small", "bytes")).values
    size_mb = sum(models[name][0].stat().st_size for name in ("small", "bytes")) / 2**20
    assert found["peak_mb"] == pytest.approx(40 + 2 * 20 + 4 * size_mb)
    parts = ("start_mb", "engine_mb", "resident_mb", "run_transient_mb")
    assert sum(found[name] for name in parts) == pytest.approx(found["peak_mb"])


def test_nothing_is_waited_for(measuring: Any) -> None:
    """A request may say hours: only a device that obeys would not end."""
    hours = MeasureSettings(seconds=1e4, max_seconds=1e4, min_rounds=3, warmup_seconds=1e4)
    found = SteadyDevice(InProcessDevice()).probe(measuring("small", settings=hours))
    assert len(found.samples["reference_ms"]) == 3


def test_this_process_is_of_this_machine() -> None:
    here, local = InProcessDevice(), LocalDevice()
    assert here.fingerprint() == local.fingerprint()
    assert (here.address, here.identity(), here.machine()) == (
        local.address,
        local.identity(),
        local.machine(),
    )


def test_steady_bundles_take_what_their_stages_take(
    tmp_path: Path, models: Any, photos: Sequence[str]
) -> None:
    names = ("small", "bytes")
    variants = [models[name][1] for name in names]
    stages = tuple(Stage(v.sha256, RuntimeOptions(format_engine(v.format))) for v in variants)
    parts = BundleParts(
        name="both",
        definition=PlanDefinition(Structure("cascade", stages), (0.9,)),
        points=[OperatingPoint((0.9,))],
        variants={variant.sha256: variant for variant in variants},
        models={models[name][1].sha256: models[name][0] for name in names},
        labels=["a", "b", "c", "d"],
        images=[Path(photo) for photo in photos],
        fingerprint={},
    )
    bundle = write_bundle(parts, tmp_path / "plan.pyz")
    device = SteadyDevice(InProcessDevice())
    place = device.put(bundle)
    found = device.probe(VerifyRequest(place, tuple(photos), ""), bundle=place)
    each = [0.04 + 0.05 + models[name][0].stat().st_size / 2**20 for name in names]
    expected = [sum(each[: stage + 1]) for stage in found.arrays["stage"]]
    assert found.arrays["latency_ms"] == pytest.approx(expected)
    size_mb = sum(models[name][0].stat().st_size for name in names) / 2**20
    assert found.values["peak_memory_mb"] == pytest.approx(40 + 2 * 20 + 4 * size_mb)
    assert len(set(found.arrays["stage"].tolist())) == 2, "else one stage answers them all"
