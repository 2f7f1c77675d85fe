"""One job over models as people bring them: each is fed as it describes itself or as its graph
asks, and what int8 loses is told against the model itself."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hub_models import turned_net, write_outliers, write_transformer
from own_size_models import write_any_size, write_wide_photos
from PIL import Image
from sample_metadata import MEDIAPIPE_TABLE, write_described_tflite
from sample_models import INPUT

import trimtab
from trimtab.db import JobRecord, Store
from trimtab.planner.reports.front import front_view
from trimtab.planner.reports.notes import front_notes
from trimtab.profilers import RecordOrReplayDevice
from trimtab_runtime.plans.plan import Plan
from trimtab_runtime.probe.requests import MeasureSettings

pytestmark = pytest.mark.slow
QUICK = MeasureSettings(seconds=0.1, max_seconds=5, min_rounds=8, warmup_seconds=0.02)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    packed = {"labels.txt": "class1\nclass0\nclass3\nclass2"}
    write_described_tflite(folder / "packed.tflite", MEDIAPIPE_TABLE, packed, net=turned_net())
    write_any_size(folder / "any_size.onnx")
    write_transformer(folder / "transformer.onnx")
    write_outliers(folder / "outliers.onnx")
    write_wide_photos(folder / "photos", 120)
    return folder


def test_a_job_over_models_as_people_bring_them(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: RecordOrReplayDevice
) -> None:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    spec = {
        "name": "hub",
        "models": [
            {"path": str(zoo / "packed.tflite")},
            {"path": str(zoo / "any_size.onnx")},
            {"path": str(zoo / "transformer.onnx"), "input": INPUT},
            {"path": str(zoo / "outliers.onnx"), "input": INPUT},
        ],
        "workload": {"images": str(zoo / "photos")},
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "techniques": {"cascade": False, "quantisation": ["w8a8"]},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 7},
        "verify": 1,
    }
    with Store.open(tmp_path / "trimtab.db") as store:
        record = trimtab.plan(spec, store, settings=QUICK, device=machine)
        assert record.state == "done"
        told = [(e.subject, e.text) for e in store.list_events(record.id)]
        assert {v.state for v in store.list_verifications(record.id)} == {"ok"}
        _check_members(told)
        _check_losses(store, record, told)
        bundle = tmp_path / "plan.pyz"
        plan = next(
            e.plan for e in store.list_plans(record.id) if e.plan.label.startswith("any_size 1t")
        )
        trimtab.export_plan(store, plan.key, bundle)
    _check_own_size(bundle, zoo)


def _check_members(told: list[tuple[str, str]]) -> None:
    said = {subject: " ".join(text for s, text in told if s == subject) for subject, _ in told}
    assert "labels.txt): mean 127.5, std 127.5, colour rgb" in said["packed"]
    assert "the job's 4 classes are found by name, in another order" in said["packed"]
    assert "brings images of any size to 32x32 itself, and is fed them as" in said["any_size"]
    squashed = "are squashed into it"
    assert squashed in said["transformer"]
    assert squashed not in said["any_size"]
    assert not any("near chance" in text or "likely another" in text for _, text in told)


def _check_losses(store: Store, record: JobRecord, told: list[tuple[str, str]]) -> None:
    """What int8 spoils is named, the others are nearly as good."""
    (collapsed,) = [text for _, text in told if "collapsed: it answers as" in text]
    assert "as outliers in float" in collapsed
    notes = "\n".join(front_notes(front_view(store, record), 1))
    points = {
        name: float(found)
        for name, found in re.findall(r"(\w+) w8a8 against \w+: ([+-][\d.]+) top1 points", notes)
    }
    assert set(points) == {"any_size", "transformer"}
    assert min(points.values()) > -10


def _check_own_size(bundle: Path, zoo: Path) -> None:
    """A bundle's answers are those of the file itself on the image as it is."""
    session = onnxruntime.InferenceSession(str(zoo / "any_size.onnx"))
    plan = Plan.load(str(bundle))
    for path in sorted((zoo / "photos").glob("*/*.png"))[::10]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        (logits,) = session.run(None, {"pixels": pixels[None]})
        assert plan.classify(str(path)).index == logits.argmax()
