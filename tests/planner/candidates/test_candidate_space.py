"""Which candidates a device's execution providers add."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_models import write_onnx, write_photos
from sample_tflite import write_tflite

from trimtab.planner.cache.variants import StoredVariant
from trimtab.planner.candidates.members import Member
from trimtab.planner.candidates.space import Space, candidate_space
from trimtab.planner.specification.job import JobSpec, load_spec
from trimtab.variants import inspect_model, make_variant

CUDA, OPENVINO = "CUDAExecutionProvider", "OpenVINOExecutionProvider"


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    write_photos(tmp_path / "photos", 3)
    write_onnx(tmp_path / "a.onnx")
    (tmp_path / "job.yaml").write_text(
        "name: providers\nmodels: [{path: a.onnx}]\n"
        "workload: {images: photos}\n"
        "objectives: {top1: max, latency_mean_ms: min}\n"
        "techniques: {quantisation: [w8a8]}\n"
        "runtime: {threads: [1, 2]}\n"
    )
    return load_spec(tmp_path / "job.yaml")


def space_of(spec: JobSpec, path: Path, accelerators: list[str]) -> Space:
    variant = make_variant(path, inspect_model(path), {"mean": 127, "std": 128}, {}, path.stem)
    member = Member(
        StoredVariant("key", path.stem, "as_is", variant, path),
        4,
        ("w8a8",) if path.suffix == ".onnx" else (),
    )
    return candidate_space(spec, [member], {"cores": "2", "accelerators": " ".join(accelerators)})


def test_providers_are_tried_after_the_members_as_they_came(spec: JobSpec, tmp_path: Path) -> None:
    plain = space_of(spec, tmp_path / "a.onnx", [])
    more = space_of(spec, tmp_path / "a.onnx", [CUDA, OPENVINO])
    assert plain.candidates[: plain.baselines] == more.candidates[: more.baselines]
    added = [c for c in more.candidates if c not in plain.candidates]
    assert sorted((c.form.text, c.options.provider, c.options.threads) for c in added) == [
        (precision, provider, threads)
        for precision in ("as_is", "w8a8")
        for provider, threads in ((CUDA, 1), (OPENVINO, 1), (OPENVINO, 2))
    ]
    # As it came, and quantised on the fewest threads, they are not left to chance.
    early = set(more.candidates[more.baselines : more.enqueued])
    assert {c for c in added if c.form.is_original or c.options.threads == 1} <= early


def test_tflite_members_have_none_of_them(spec: JobSpec, tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "b.tflite")
    assert space_of(spec, path, [CUDA]) == space_of(spec, path, [])
