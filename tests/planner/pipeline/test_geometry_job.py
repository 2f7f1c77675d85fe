"""Photographs of a camera, and a network that was trained on their centres."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sample_models import INPUT, activations, make_net, texture_images, write_onnx

import trimtab
from trimtab.planner.jobs.dataset import load_dataset
from trimtab.planner.jobs.journal import NullListener
from trimtab.planner.specification.scaffold import write_starter
from trimtab.planner.specification.shapes import misfits
from trimtab.profilers import Device
from trimtab_runtime import Plan
from trimtab_runtime.errors import SpecificationError
from trimtab_runtime.probe.requests import MeasureSettings

QUICK = MeasureSettings(seconds=0.1, max_seconds=5, min_rounds=8, warmup_seconds=0.02)
#: Pixels that a 16:9 photograph has left and right of the 32 that the network looks at.
LEFT, RIGHT = 12, 13


class Notes(NullListener):
    def __init__(self) -> None:
        self.found: list[tuple[str, str, str]] = []

    def note(self, level: str, subject: str, text: str) -> None:
        self.found.append((level, subject, text))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, and 60 photographs with what was trained on in the middle; what lies beside it is
    another class's, so a network that sees it squashed is wrong."""
    folder = tmp_path_factory.mktemp("wide")
    write_onnx(folder / "net.onnx", width=16)
    centres, labels = texture_images(60, seed=5)
    others = centres[np.argsort(labels, kind="stable")[::-1]]
    for number, (centre, other, label) in enumerate(zip(centres, others, labels, strict=True)):
        place = folder / "photos" / f"class{label}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.concatenate([other[:, :LEFT], centre, other[:, -RIGHT:]], axis=1)
        Image.fromarray(pixels).save(place / f"{number:02}.png")
    return folder


def job(wide: Path, **said: Any) -> dict[str, Any]:
    return {
        "name": "wide",
        "models": [{"path": str(wide / "net.onnx"), "input": {**INPUT, **said}}],
        "workload": {
            "images": str(wide / "photos"),
            "splits": {"fit": 20, "tune": 20, "test": 20},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "techniques": {"cascade": False, "quantisation": []},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 1},
        "verify": 1,
    }


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    with trimtab.Store.open(tmp_path / "store" / "trimtab.db") as opened:
        yield opened


def test_a_crop_is_the_same_in_job_and_bundle(
    wide: Path, store: Any, tmp_path: Path, machine: Device
) -> None:
    """The centre is what the network was trained on, pixel by pixel, so its answers are those."""
    notes, spec = Notes(), job(wide, fit="crop")
    record = trimtab.plan(spec, store, notes, QUICK, machine, setup="ignored")
    workload, splits = load_dataset(trimtab.load_spec(spec))
    paths = [item.path for item in workload.items]
    centres = np.stack([np.asarray(Image.open(path))[:, LEFT:-RIGHT] for path in paths])
    expected = activations(make_net(16), centres)[3].argmax(1)
    right = float(np.mean(expected[splits.test] == workload.labels[splits.test]))
    (entry,) = store.list_plans(record.id)
    assert entry.value("top1", "test", "replayed") == pytest.approx(right)
    (verification,) = store.list_verifications(record.id)
    assert (verification.state, verification.values["answer_mismatch"]) == ("ok", 0)
    plan = Plan.load(str(trimtab.export_plan(store, entry.plan.key, tmp_path / "wide.pyz")))
    assert [plan.classify(path).index for path in paths] == expected.tolist()
    assert plan.selftest() == []
    assert not [text for _, _, text in notes.found if "input.fit" in text]


def test_a_squashed_photograph_is_told(wide: Path, store: Any, machine: Device) -> None:
    notes = Notes()
    spec = {**job(wide), "verify": 0}
    trimtab.plan(spec, store, notes, QUICK, machine, setup="ignored")
    told = [note for note in notes.found if "input.fit" in note[2]]
    assert told == [
        (
            "warning",
            "net",
            "60 of 60 images are of another shape than the input (57x32, the input 32x32) and are "
            "squashed into it, as nothing is said of input.fit; say squash, crop or pad, as in "
            "training",
        )
    ]


def test_squash_can_be_meant(wide: Path, store: Any, machine: Device) -> None:
    notes = Notes()
    spec = {**job(wide, fit="squash"), "verify": 0}
    trimtab.plan(spec, store, notes, QUICK, machine, setup="ignored")
    assert not [text for _, _, text in notes.found if "input.fit" in text]


def test_init_tells_it(wide: Path, tmp_path: Path) -> None:
    starter = write_starter(wide, tmp_path / "job.yaml")
    assert "CHECK: 30 of 30 images looked at have another shape (57x32)" in starter.text
    assert "# fit: crop" in starter.text
    square = tmp_path / "square"
    square.mkdir()
    write_onnx(square / "net.onnx", width=2)
    for number in range(4):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(square / f"{number}.png")
    assert "another shape" not in write_starter(square, tmp_path / "other.yaml").text


@pytest.mark.parametrize("values", ["0..255", "0..1", "-1..1"])
def test_the_fields_as_they_are_written(tmp_path: Path, values: str) -> None:
    """Ranges need no quotes in YAML."""
    (tmp_path / "job.yaml").write_text(
        "name: x\n"
        "models:\n"
        "  - path: a.onnx\n"
        f"    input: {{fit: crop, resize_size: 256, values: {values}, antialias: false}}\n"
        "  - path: b.onnx\n"
        "    input: {fit: pad, pad_colour: [114, 114, 114], resize_last: true, size: [192, 256]}\n"
        "workload: {images: photos}\n"
        "objectives: {top1: max}\n"
    )
    first, second = (model.input for model in trimtab.load_spec(tmp_path / "job.yaml").models)
    assert (first.fit, first.resize_size, first.values) == ("crop", 256, values)
    assert first.antialias is False
    assert (second.pad_colour, second.resize_last) == ((114, 114, 114), True)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"fit": "letterbox"}, "models[0].input.fit"),
        ({"pad_colour": 256}, "models[0].input.pad_colour"),
        ({"values": "0-1"}, "models[0].input.values"),
        ({"resize_size": 0}, "models[0].input.resize_size"),
    ],
    ids=str,
)
def test_wrong_fields_are_named(wide: Path, said: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecificationError) as caught:
        trimtab.load_spec(job(wide, **said))
    assert told in str(caught.value)


def test_shapes_that_a_resize_distorts() -> None:
    images = {(640, 480): 3, (480, 640): 1, (225, 224): 5, (64, 64): 2}
    assert misfits(images, (224, 224)) == {"640x480": 3, "480x640": 1}
    assert next(iter(misfits(images, (224, 224)))) == "640x480"
    assert misfits(images, (120, 160)) == {"225x224": 5, "64x64": 2, "480x640": 1}
