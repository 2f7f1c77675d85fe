"""Models, photographs and requests for a device."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper
from PIL import Image
from sample_models import INPUT, onnx_model, texture_images, write_onnx
from sample_tflite import write_tflite
from ssh_server import SSHD, SshServer

from trimtab.profilers import Device, LocalDevice
from trimtab.variants import inspect_model, make_variant
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines import format_engine
from trimtab_runtime.probe.requests import MeasureRequest, MeasureSettings, StageFile, TraceRequest


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temp folder of every test, which the device must leave empty."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def device() -> LocalDevice:
    return LocalDevice()


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """A real SSH server on loopback, with an environment that has all engines."""
    if SSHD is None:
        pytest.skip("there is no sshd here (Debian: apt-get install openssh-server)")
    server = SshServer(tmp_path_factory.mktemp("sshd"))
    server.use_environment()
    yield server
    server.stop()


@pytest.fixture
def at_home(sshd: SshServer, monkeypatch: pytest.MonkeyPatch) -> SshServer:
    """The server, and the user whose key it takes."""
    monkeypatch.setenv("HOME", str(sshd.home))
    return sshd


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("photos")
    images, _ = texture_images(12, seed=3, size=40)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:02}.png")
    return [str(path) for path in sorted(folder.iterdir())]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Variant]]:
    """ONNX and uint8 TFLite; `nan` gives NaN for every image."""
    folder = tmp_path_factory.mktemp("models")
    small = write_onnx(folder / "small.onnx", 4)
    bytes_ = write_tflite(folder / "bytes.tflite", 8, quantised=True)
    nan = _nan(folder / "nan.onnx")
    found = {
        "small": (small, make_variant(small, inspect_model(small), INPUT, {}, "small")),
        "bytes": (bytes_, make_variant(bytes_, inspect_model(bytes_), {}, {}, "bytes")),
    }
    sha256 = hashlib.sha256(nan.read_bytes()).hexdigest()
    variant = dataclasses.replace(found["small"][1], name="nan", sha256=sha256)
    return {**found, "nan": (nan, variant)}


def _nan(path: Path) -> Path:
    model = onnx_model(4)
    for weight in model.graph.initializer:
        if weight.name == "head_bias":
            values = numpy_helper.to_array(weight).copy()
            values[1] = np.nan
            weight.CopyFrom(numpy_helper.from_array(values, "head_bias"))
    path.write_bytes(model.SerializeToString())
    return path


SHORT = MeasureSettings(
    seconds=0.0,
    max_seconds=400.0,
    min_rounds=5,
    max_rounds=9,
    hot_per_beside=3,
    warmup_seconds=0.0,
)
RequestMaker = Callable[..., Any]


@pytest.fixture
def measuring(models: dict[str, tuple[Path, Variant]], photos: Sequence[str]) -> RequestMaker:
    """measuring(*names, settings=, options=): a request to measure models together."""

    def make(*names: str, settings: MeasureSettings = SHORT, **options: Any) -> MeasureRequest:
        stages = []
        for name in names:
            path, variant = models[name]
            chosen = RuntimeOptions(format_engine(variant.format), **options)
            stages.append(StageFile(str(path), variant, chosen))
        return MeasureRequest(tuple(stages), tuple(photos[:4]), settings)

    return make


@pytest.fixture
def tracing(models: dict[str, tuple[Path, Variant]], photos: Sequence[str]) -> RequestMaker:
    """tracing(name, images=): a request to trace a model."""

    def make(name: str, images: Sequence[str] = ()) -> TraceRequest:
        path, variant = models[name]
        options = RuntimeOptions(format_engine(variant.format))
        stage = StageFile(str(path), variant, options)
        return TraceRequest(stage, tuple(images or photos), "")

    return make


def placed(device: Device, request: Any) -> Any:
    """A request whose files lie on the device."""

    def put(path: str) -> str:
        return device.put(Path(path)) if Path(path).is_file() else path

    changes: dict[str, Any] = {"images": tuple(put(path) for path in request.images)}
    if hasattr(request, "stages"):
        stages = (dataclasses.replace(s, model=put(s.model)) for s in request.stages)
        changes["stages"] = tuple(stages)
    else:
        changes["stage"] = dataclasses.replace(request.stage, model=put(request.stage.model))
    return dataclasses.replace(request, **changes)


@pytest.fixture
def on_device() -> Callable[[Device, Any], Any]:
    """on_device(device, request): as `placed`."""
    return placed
