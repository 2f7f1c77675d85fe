"""What holds for every device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from trimtab.planner.bundles.archive import BundleParts, write_bundle
from trimtab.planner.specification.device import DeviceSpec
from trimtab.profilers import (
    KINDS,
    Device,
    DeviceKind,
    InProcessDevice,
    LocalDevice,
    ProbeResult,
    RecordedDevice,
    RecordingDevice,
    RecordOrReplayDevice,
    SteadyDevice,
    connect,
    device_kind,
)
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
from trimtab_runtime.errors import (
    BundleError,
    DeviceError,
    EngineError,
    InferenceError,
    ModelError,
    TrimtabError,
    WorkloadError,
)
from trimtab_runtime.images.preprocess import Preprocessor
from trimtab_runtime.probe.requests import (
    LayersRequest,
    PairedRequest,
    RaceRequest,
    TurnSettings,
    VerifyRequest,
)


class Replaying(Device):
    """Has everything recorded, and answers from the recording."""

    def __init__(self, file: Path) -> None:
        self.address, self.file = f"recorded:{file}", file

    def put(self, path: Path) -> str:
        return str(path.resolve())

    def probe(self, request: Any, **how: Any) -> ProbeResult:
        with suppress(TrimtabError):
            RecordingDevice(InProcessDevice(), self.file).probe(request, bundle=how.get("bundle"))
        return connect(self.address).probe(request, **how)


Made = Callable[[pytest.FixtureRequest, Path], AbstractContextManager[Device]]


@contextmanager
def behind_ssh(request: pytest.FixtureRequest, file: Path) -> Iterator[Device]:
    server = request.getfixturevalue("at_home")
    with connect(server.address, host_key=server.fingerprint) as device:
        yield device
    assert list((server.device / "runs").iterdir()) == []


#: How a device is made for a test. A new kind joins by a line.
DEVICES: dict[str, Made] = {
    "local": lambda request, file: connect("local"),
    "in process": lambda request, file: InProcessDevice(),
    "recording": lambda request, file: RecordingDevice(InProcessDevice(), file),
    "recorded": lambda request, file: Replaying(file),
    "recorded once": lambda request, file: RecordOrReplayDevice(InProcessDevice(), file),
    "steady": lambda request, file: SteadyDevice(InProcessDevice()),
    "ssh": behind_ssh,
}
_SLOW = {"ssh"}
#: Devices that wrap or stand in for another: no specification names one by its address.
_WITHOUT_ADDRESS = {"in process", "recording", "recorded once", "steady"}


@pytest.fixture(
    params=[pytest.param(n, marks=pytest.mark.slow) if n in _SLOW else n for n in DEVICES]
)
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Device]:
    (tmp_path / "recording").mkdir()
    with DEVICES[request.param](request, tmp_path / "recording" / "device.jsonl") as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_is_left(scratch: Path) -> Any:
    yield
    assert list(scratch.iterdir()) == []


@pytest.fixture
def ask(device: Device, on_device: Any) -> Any:
    """ask(request): the device's answer to a request whose files it has."""

    def asked(request: Any, **how: Any) -> ProbeResult:
        return device.probe(on_device(device, request), **how)

    return asked


def test_a_file_that_was_put_is_found(
    device: Device, ask: Any, tracing: Any, tmp_path: Path
) -> None:
    """Its place there is the device's own affair."""
    image = Path(tracing("small").images[0])
    (tmp_path / "elsewhere").mkdir()
    copied = tmp_path / "elsewhere" / "x.png"
    copied.write_bytes(image.read_bytes())
    place = device.put(tmp_path / "elsewhere" / ".." / "elsewhere" / "x.png")
    assert isinstance(place, str)
    assert ask(tracing("small", [place])).arrays["outputs"].shape == (1, 4)


def test_the_fingerprint_is_the_same_every_time(device: Device) -> None:
    found = device.fingerprint()
    assert {"machine", "cores", "python", "numpy", "onnxruntime"} <= set(found)
    assert all(isinstance(value, str) and value for value in found.values())
    assert device.fingerprint() == found


def test_measuring_brings_values_and_raw_samples(ask: Any, measuring: Any) -> None:
    found = ask(measuring("small"))
    assert found.values["load_ms"] > 0
    assert len(found.samples["reference_ms"]) == 5
    assert all(type(x) is float for values in found.samples.values() for x in values)
    assert found.arrays == {}


@pytest.mark.parametrize("name", ["small", "bytes"])
def test_a_trace_is_what_the_engine_says(
    ask: Any,
    tracing: Any,
    models: dict[str, tuple[Path, Variant]],
    photos: Sequence[str],
    name: str,
) -> None:
    path, variant = models[name]
    options = RuntimeOptions("onnxruntime" if name == "small" else "litert")
    engine = create_engine(str(path), variant, options)
    expected = np.stack([engine.run(Preprocessor(p).tensor(variant.input)) for p in photos])
    found = ask(tracing(name)).arrays["outputs"]
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)


def test_progress_grows_to_the_end(ask: Any, tracing: Any) -> None:
    steps: list[tuple[int, int]] = []
    ask(tracing("small"), progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (12, 12)
    assert steps == sorted(set(steps))


@pytest.fixture
def bundle(models: dict[str, tuple[Path, Variant]], photos: Sequence[str], tmp_path: Path) -> Path:
    path, variant = models["small"]
    stage = Stage(variant.sha256, RuntimeOptions("onnxruntime"))
    parts = BundleParts(
        name="small",
        definition=PlanDefinition(Structure("single", (stage,)), ()),
        points=[OperatingPoint(())],
        variants={variant.sha256: variant},
        models={variant.sha256: path},
        labels=["a", "b", "c", "d"],
        images=[Path(photo) for photo in photos],
        fingerprint={},
    )
    return write_bundle(parts, tmp_path / "plan.pyz")


def test_a_bundle_runs_with_its_own_runtime(
    device: Device, bundle: Path, photos: Sequence[str]
) -> None:
    place = device.put(bundle)
    images = tuple(device.put(Path(photo)) for photo in photos)
    found = device.probe(VerifyRequest(place, images, ""), bundle=place)
    plan = Plan.load(str(bundle))
    assert found.arrays["index"].tolist() == [plan.classify(photo).index for photo in photos]
    assert len(found.arrays["latency_ms"]) == 12


def test_bundles_take_turns(device: Device, bundle: Path, photos: Sequence[str]) -> None:
    """In processes of their own, wherever the device is."""
    place = device.put(bundle)
    images = tuple(device.put(Path(photo)) for photo in photos)
    request = PairedRequest(
        (place, place), images, (0, 5), "", TurnSettings(3, 1, spread_seconds=0.0, visits=1)
    )
    arrays = device.probe(request).arrays
    assert arrays["round_block"].tolist() == [0, 1, 2]
    for number in (0, 1):
        assert sorted(arrays["image"][arrays["bundle"] == number]) == list(range(12))


def test_layers_have_a_time_for_every_node_and_run(
    device: Device, models: dict[str, tuple[Path, Variant]]
) -> None:
    place = device.put(models["small"][0])
    found = device.probe(LayersRequest(place, RuntimeOptions("onnxruntime"), "", runs=3))
    kinds = found.arrays["operator"].tolist()
    assert [kind for kind in kinds if kind in ("Conv", "Gemm")] == ["Conv", "Conv", "Gemm"]
    assert len(found.arrays["name"]) == len(found.arrays["shape"]) == len(kinds)
    assert found.arrays["ms"].shape == (3, len(kinds))
    assert [len(found.samples[f"{kind}_ms"]) for kind in ("plain", "profiled")] == [3, 3]


def test_a_race_brings_raw_samples_of_every_file(
    device: Device, models: dict[str, tuple[Path, Variant]]
) -> None:
    """In the order of the request; NaN is nobody's concern."""
    places = tuple(device.put(models[name][0]) for name in ("small", "nan", "small"))
    request = RaceRequest(places, RuntimeOptions("onnxruntime"), rounds=4, warmup_seconds=0.0)
    found = device.probe(request)
    assert {name: len(values) for name, values in found.samples.items()} == dict.fromkeys(
        ["reference_ms", "0_ms", "1_ms", "2_ms"], 4
    )
    assert all(type(x) is float for values in found.samples.values() for x in values)
    assert found.values["unsteadiness"] >= 0
    assert found.arrays == {}


def test_layers_and_races_name_the_file_that_they_cannot_run(
    device: Device, models: dict[str, tuple[Path, Variant]], tmp_path: Path
) -> None:
    (tmp_path / "torn.onnx").write_bytes(models["small"][0].read_bytes()[:100])
    place, options = device.put(tmp_path / "torn.onnx"), RuntimeOptions("onnxruntime")
    with pytest.raises(ModelError, match=r"torn\.onnx: onnxruntime cannot load it"):
        device.probe(LayersRequest(place, options, ""))
    with pytest.raises(ModelError, match=r"torn\.onnx: onnxruntime cannot load it"):
        device.probe(RaceRequest((place,), options))
    litert = device.put(models["bytes"][0])
    with pytest.raises(EngineError, match="are told by onnxruntime alone"):
        device.probe(LayersRequest(litert, RuntimeOptions("litert"), ""))


@pytest.mark.parametrize("kind", ["measuring", "tracing"])
def test_nan_is_an_error(ask: Any, kind: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(InferenceError, match=r"nan .*NaN"):
        ask(request.getfixturevalue(kind)("nan"))


def test_errors_are_of_the_tree(
    device: Device,
    ask: Any,
    measuring: Any,
    tracing: Any,
    models: dict[str, tuple[Path, Variant]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(EngineError, match="has no TensorrtExecutionProvider here"):
        ask(measuring("small", provider="TensorrtExecutionProvider"))
    (tmp_path / "note.png").write_text("no image")
    with pytest.raises(WorkloadError, match=r"note\.png: cannot be read as an image"):
        ask(tracing("small", [str(tmp_path / "note.png")]))
    with pytest.raises(BundleError, match=r"note\.png: its end is missing"):
        device.probe(VerifyRequest(device.put(tmp_path / "note.png"), (), ""))
    monkeypatch.setitem(models, "small", (tmp_path / "absent.onnx", models["small"][1]))
    with pytest.raises(ModelError, match=r"small: .* cannot load it"):
        ask(tracing("small"))


def test_nothing_that_was_put_is_changed(
    device: Device, ask: Any, tracing: Any, bundle: Path
) -> None:
    before = {path: path.read_bytes() for path in bundle.parent.iterdir() if path.is_file()}
    device.put(bundle)
    ask(tracing("bytes"))
    assert all(path.read_bytes() == content for path, content in before.items())


def test_every_kind_of_device_is_in_this_suite() -> None:
    assert {kind.scheme.partition(":")[0] for kind in KINDS} <= set(DEVICES)


@pytest.mark.parametrize("device", sorted(set(DEVICES) - _WITHOUT_ADDRESS - _SLOW), indirect=True)
def test_its_address_is_of_one_kind(device: Device, tmp_path: Path) -> None:
    """Which the specification of a job asks about all that it must know."""
    (kind,) = (kind for kind in KINDS if kind.has(device.address))
    assert device_kind(device.address) is kind
    assert set(kind.settings) <= set(DeviceSpec.model_fields)
    kind.check(device.address, {})
    absolute = kind.absolute(device.address, tmp_path)
    assert kind.absolute(absolute, tmp_path / "elsewhere") == absolute
    assert DeviceSpec(address=device.address).at(tmp_path).address == absolute
    assert DeviceSpec(address=device.address).label == kind.label(device.address) != ""


class Named(LocalDevice):
    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address


class NamedKind(DeviceKind):
    """This machine under a name."""

    scheme, form = "named:", "named:NAME"

    def open(self, address: str, stall_s: float, settings: Mapping[str, Any]) -> Device:
        return Named(address)


def test_a_new_kind_is_one_entry_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match=r"device 'named:bench' is unknown: there are"):
        DeviceSpec(address="named:bench")
    monkeypatch.setattr("trimtab.profilers.registry.KINDS", (*KINDS, NamedKind()))
    spec = DeviceSpec(address="named:bench")
    assert (spec.label, spec.settings, spec.model_dump()) == ("bench", {}, "named:bench")
    assert isinstance(connect(spec.address, **spec.settings), Named)
    with pytest.raises(ValidationError, match=r"device\.space_mb: only devices such as ssh://"):
        DeviceSpec(address="named:bench", space_mb=100)
    with pytest.raises(DeviceError, match="and 'named:NAME'"):
        connect("nowhere")


def test_recorded_devices_are_what_the_suite_runs_over(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    assert isinstance(connect(f"recorded:{tmp_path / 'empty.jsonl'}"), RecordedDevice)
