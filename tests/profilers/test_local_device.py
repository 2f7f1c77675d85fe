"""This machine as the device: what a probe measures, traces and verifies."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import psutil
import pytest
from sample_models import INPUT, GraphDrawer

from trimtab.planner.bundles.archive import BundleParts, write_bundle
from trimtab.profilers import LocalDevice, connect
from trimtab.profilers.device import device_key
from trimtab.variants import inspect_model, make_variant
from trimtab_runtime import Plan
from trimtab_runtime.definitions.plan import (
    OperatingPoint,
    PlanDefinition,
    RuntimeOptions,
    Stage,
    Structure,
    Variant,
)
from trimtab_runtime.engines import create_engine
from trimtab_runtime.errors import DeviceError
from trimtab_runtime.fingerprint import fingerprint
from trimtab_runtime.images.preprocess import Preprocessor
from trimtab_runtime.probe.requests import MeasureSettings, VerifyRequest

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")


def test_addresses() -> None:
    assert isinstance(connect("local"), LocalDevice)
    for wrong in ("", "Local", "ssh:pi@192.0.2.7", "gopher://x"):
        with pytest.raises(DeviceError, match=r"device '.*' is unknown: there are 'local',"):
            connect(wrong)


def test_the_fingerprint_says_what_this_machine_is(device: LocalDevice) -> None:
    found = device.fingerprint()
    assert found["machine"] == platform.machine()
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert found["onnxruntime"] == onnxruntime.__version__
    assert found["litert"].startswith("ai-edge-litert")
    assert found["os"].startswith(platform.system())
    assert all(isinstance(value, str) and value for value in found.values())
    assert found == device.fingerprint() == fingerprint()


@LINUX
def test_the_fingerprint_counts_cores_and_memory(device: LocalDevice) -> None:
    found = device.fingerprint()
    assert int(found["cores"]) == len(psutil.Process().cpu_affinity())
    total = psutil.virtual_memory().total / 2**30
    assert float(found["memory_gb"]) == pytest.approx(total, rel=0.05)


def test_a_fingerprint_has_one_key_whatever_its_order() -> None:
    one = {"machine": "x86_64", "cores": "2"}
    assert device_key(one) == device_key(dict(reversed(one.items())))
    assert device_key(one) != device_key({**one, "cores": "4"})


PARTS = ("resize_ms", "tensor_ms", "inference_ms")


@pytest.mark.parametrize("name", ["small", "bytes"])
def test_measuring_obeys_its_settings(
    device: LocalDevice, measuring: Any, name: str, scratch: Path
) -> None:
    found = device.probe(measuring(name))
    # No seconds to fill: the fewest rounds, each twice beside the reference, then thrice hot.
    counts = {sample: len(values) for sample, values in found.samples.items()}
    assert counts == {
        "reference_ms": 5,
        "parallel_ms": 5,
        **{f"0_beside_{part}": 10 for part in PARTS},
        **{f"0_hot_{part}": 30 for part in PARTS},
    }
    assert all(value > 0 for values in found.samples.values() for value in values)
    assert found.values["load_ms"] > 0
    assert list(scratch.iterdir()) == []


def test_stages_are_measured_beside_each_other(device: LocalDevice, measuring: Any) -> None:
    found = device.probe(measuring("small", "bytes", "small"))
    counts = {sample: len(values) for sample, values in found.samples.items()}
    beside = {f"{stage}_beside_{part}": 10 for part in PARTS for stage in range(3)}
    hot = {f"0_hot_{part}": 30 for part in PARTS}
    assert counts == {"reference_ms": 5, "parallel_ms": 5, **beside, **hot}


@LINUX
def test_measuring_tells_memory(device: LocalDevice, measuring: Any) -> None:
    alone = device.probe(measuring("small")).values
    names = ("start", "engine", "resident", "load_transient", "run_transient", "peak")
    assert set(alone) >= {"load_ms", "unsteadiness", *(f"{name}_mb" for name in names)}
    assert 5 < alone["start_mb"] < 500
    assert 1 < alone["engine_mb"] < 500
    assert alone["load_transient_mb"] >= 0
    assert alone["run_transient_mb"] >= 0
    assert alone["peak_mb"] >= alone["start_mb"] + alone["engine_mb"]


@LINUX
def test_the_memory_of_all_models_counts(
    device: LocalDevice, measuring: Any, tmp_path: Path
) -> None:
    """The second has weights of 48 MB."""
    draw, wide = GraphDrawer(), 1_000_000
    flat = draw.op("Flatten", draw.op("GlobalAveragePool", draw.conv("image", 8)))
    hidden = draw.op("Gemm", flat, draw.weight(8, wide), width=wide)
    path = draw.write(tmp_path / "heavy.onnx", draw.op("Gemm", hidden, draw.weight(wide, 4)))
    request = measuring("small")
    (small,) = request.stages
    variant = make_variant(path, inspect_model(path), INPUT, {}, "heavy")
    heavy = dataclasses.replace(small, model=str(path), variant=variant)
    found = device.probe(dataclasses.replace(request, stages=(small, heavy))).values
    assert found["resident_mb"] > 48
    assert found["peak_mb"] > 48


@LINUX
def test_memory_is_that_of_the_largest_image_which_does_not_stay(
    device: LocalDevice, measuring: Any
) -> None:
    """4 bytes a pixel as it lies in the file, and 4 as it is shown."""
    request = dataclasses.replace(measuring("small"), largest_pixels=30_000_000)
    found = device.probe(request).values
    assert found["peak_mb"] > 8 * 30_000_000 / 2**20
    assert found["resident_mb"] < 4 * 30_000_000 / 2**20


@LINUX
def test_another_program_is_noticed_and_named(device: LocalDevice, measuring: Any) -> None:
    settings = MeasureSettings(seconds=1.5, min_rounds=2, max_rounds=9999)
    turning = [sys.executable, "-uc", "print()\nwhile True: pass"]
    busy = [subprocess.Popen(turning, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for process in busy:
            process.stdout.readline()
        found = device.probe(measuring("small", settings=settings))
    finally:
        for process in busy:
            process.kill()
            process.communicate()
    assert any(text.startswith("other processes used") for text in found.warnings)


@pytest.mark.parametrize(
    ("settings", "rounds"),
    [
        (MeasureSettings(400.0, 400.0, 2, 7, 1, 0, 0.0), 7),  # time enough: the most rounds
        (MeasureSettings(0.0, 0.0, 500, 900, 1, 1, 0.0), 1),  # no time at all: one
    ],
    ids=["most", "none"],
)
def test_bounds_of_measuring(
    device: LocalDevice, measuring: Any, settings: MeasureSettings, rounds: int
) -> None:
    found = device.probe(measuring("small", settings=settings))
    assert len(found.samples["reference_ms"]) == rounds
    assert len(found.samples["0_beside_inference_ms"]) == rounds
    hot = len(found.samples.get("0_hot_inference_ms", []))
    assert hot == rounds * settings.hot_per_beside


@pytest.mark.parametrize("name", ["small", "bytes"])
def test_a_trace_is_what_the_engine_says(
    device: LocalDevice,
    tracing: Any,
    models: dict[str, tuple[Path, Variant]],
    photos: Sequence[str],
    scratch: Path,
    name: str,
) -> None:
    steps: list[tuple[int, int]] = []
    found = device.probe(tracing(name), progress=lambda done, total: steps.append((done, total)))
    path, variant = models[name]
    engine = create_engine(str(path), variant, tracing(name).stage.options)
    expected = np.stack([engine.run(Preprocessor(p).tensor(variant.input)) for p in photos])
    assert found.arrays["outputs"].dtype == np.float32
    assert np.array_equal(found.arrays["outputs"], expected)
    assert found.values == {"classes": 4.0}
    assert steps[-1] == (12, 12)
    assert steps == sorted(set(steps))
    assert list(scratch.iterdir()) == []


@pytest.fixture
def bundle(models: dict[str, tuple[Path, Variant]], photos: Sequence[str], tmp_path: Path) -> Path:
    stages = (
        Stage(models["small"][1].sha256, RuntimeOptions("onnxruntime")),
        Stage(models["bytes"][1].sha256, RuntimeOptions("litert")),
    )
    parts = BundleParts(
        name="small > bytes",
        definition=PlanDefinition(Structure("cascade", stages), (0.8,)),
        points=[OperatingPoint((0.8,))],
        variants={variant.sha256: variant for _, variant in models.values()},
        models={variant.sha256: path for path, variant in models.values()},
        labels=["a", "b", "c", "d"],
        images=[Path(photo) for photo in photos],
        fingerprint={},
    )
    return write_bundle(parts, tmp_path / "plan.pyz")


def test_verifying_runs_the_bundle_itself(
    device: LocalDevice, bundle: Path, photos: Sequence[str], scratch: Path
) -> None:
    steps: list[int] = []
    request = VerifyRequest(device.put(bundle), tuple(photos), "", reference_every=5)
    found = device.probe(
        request, bundle=device.put(bundle), progress=lambda done, _: steps.append(done)
    )
    plan = Plan.load(str(bundle))
    answers = [plan.classify(photo) for photo in photos]
    assert found.arrays["index"].tolist() == [answer.index for answer in answers]
    assert found.arrays["stage"].tolist() == [answer.stage for answer in answers]
    expected = np.array([answer.confidence for answer in answers], np.float32)
    assert np.array_equal(found.arrays["confidence"], expected)
    assert len(found.arrays["latency_ms"]) == 12
    assert (found.arrays["latency_ms"] > 0).all()
    assert len(found.samples["reference_ms"]) == 3, "before each group of five"
    assert found.values["load_ms"] > 0
    assert steps[-1] == 12
    assert list(scratch.iterdir()) == []


def test_the_bundles_own_runtime_does_the_work(
    device: LocalDevice, bundle: Path, photos: Sequence[str]
) -> None:
    """A bundle that holds another runtime shows whose code ran."""
    import hashlib
    import json
    import zipfile

    with zipfile.ZipFile(bundle) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    name = "trimtab_runtime/probe/answers.py"
    content[name] = content[name].replace(b'{"load_ms": load_ms}', b'{"load_ms": 7777.0}')
    manifest = json.loads(content["manifest.json"])
    manifest["files"][name] = hashlib.sha256(content[name]).hexdigest()
    content["manifest.json"] = json.dumps(manifest).encode()
    other = bundle.with_name("other.pyz")
    with zipfile.ZipFile(other, "w") as archive:
        for entry, data in content.items():
            archive.writestr(entry, data)
    request = VerifyRequest(str(other), tuple(photos[:2]), "")
    assert device.probe(request, bundle=str(other)).values["load_ms"] == 7777.0
    assert device.probe(request).values["load_ms"] > 0


def test_a_file_is_put_where_it_is(device: LocalDevice, tmp_path: Path) -> None:
    assert device.put(tmp_path / "x" / ".." / "m.onnx") == str((tmp_path / "m.onnx").resolve())
