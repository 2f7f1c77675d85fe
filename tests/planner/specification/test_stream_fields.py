"""What is told of wrong fields of a stream, and how right ones are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stream_jobs import spec_of

from trimtab.planner.specification.job import load_spec
from trimtab_runtime.errors import SpecificationError


@pytest.mark.parametrize(
    ("stream", "told"),
    [
        (
            {"kind": "parade"},
            "workload.stream.kind: unknown value 'parade'; choose one of 'independent'",
        ),
        ({"kind": 3}, "workload.stream.kind: "),
        ({"knid": "dwelling"}, "workload.stream.knid: unknown field; did you mean 'kind'?"),
        ("dwelling", "workload.stream: "),
        ({"frames": 0}, "workload.stream.frames: "),
        ({"frames": 2.5}, "workload.stream.frames: "),
        ({"frames": 2**31}, "workload.stream: frames must be a whole number"),
        ({"zipf": "steep"}, "workload.stream.zipf: "),
        ({"zipf": -1}, "workload.stream: 0 <= zipf <= 10 must hold, got -1"),
        ({"zipf": float("nan")}, "workload.stream.zipf: "),
        ({"mean_frames": 0.5}, "workload.stream: 1 <= mean_frames"),
        (
            {"kind": "interleaved", "mean_frames": 2.5},
            "workload.stream: mean_frames must be a whole number for interleaved",
        ),
        ({"objects": 0}, "workload.stream: objects must be a whole number of 1 or more"),
        ({"stretch": 0}, "workload.stream: stretch must be"),
        ({"classes": "three"}, "workload.stream.classes: "),
        ({"shift": -1}, "workload.stream: shift must be"),
        ({"shift": 10**400}, "workload.stream"),
        ({"gain": 0.6}, "workload.stream: 0 <= gain <= 0.5 must hold"),
        ({"noise": 2}, "workload.stream: 0 <= noise <= 1 must hold"),
    ],
    ids=str,
)
def test_a_wrong_field_of_a_stream_is_named(tmp_path: Path, stream: Any, told: str) -> None:
    with pytest.raises(SpecificationError) as raised:
        spec_of(tmp_path, stream)
    assert str(raised.value).startswith(told), str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"certify": {}},
            "certify: needs techniques.exits: true",
        ),
        (
            {"certify": {}, "techniques": {"memory": True}},
            "certify: needs techniques.exits: true",
        ),
        (
            {
                "certify": {},
                "techniques": {"exits": True},
                "stream": {"kind": "dwelling"},
            },
            "certify: its bound needs independent inputs",
        ),
        (
            {"certify": {}, "techniques": {"exits": True}, "stream": {"kind": "recorded"}},
            "certify: its bound needs independent inputs",
        ),
        ({"certify": {"loss": 0}, "techniques": {"exits": True}}, "certify.loss: "),
        ({"certify": {"confidence": 1}, "techniques": {"exits": True}}, "certify.confidence: "),
        ({"certify": {"share": 1.0}, "techniques": {"exits": True}}, "certify.share: "),
        ({"certify": {"loos": 0.1}, "techniques": {"exits": True}}, "certify.loos: unknown"),
        ({"techniques": {"exits": "often"}}, "techniques.exits: "),
        ({"techniques": {"premodel": "often"}}, "techniques.premodel: "),
        ({"techniques": {"routing": "often"}}, "techniques.routing: "),
        (
            {"techniques": {"routing": True, "premodel": True}},
            "techniques.premodel: unknown field",
        ),
        ({"models": None}, "models: `models` is empty; give a value, or remove the field"),
        ({"verify": "many"}, "verify: must be a whole number, got 'many'"),
        ({"verify": 1000}, "verify: must be less than or equal to 100, got 1000"),
        ({"objectives": {}}, "objectives: "),
    ],
    ids=str,
)
def test_what_cannot_be_certified_is_refused(tmp_path: Path, changes: Any, told: str) -> None:
    with pytest.raises(SpecificationError) as raised:
        spec_of(tmp_path, **changes)
    assert str(raised.value).startswith(told), str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_stream_is_read_as_it_is_written(tmp_path: Path) -> None:
    stream = {"kind": "dwelling", "mean_frames": 7, "zipf": 0.5, "shift": 2, "noise": 0}
    spec = spec_of(tmp_path, stream, {"exits": True, "memory": True})
    assert {k: getattr(spec.workload.stream.recipe, k) for k in stream} == stream
    assert (spec.techniques.exits, spec.techniques.memory) == (True, True)
    assert load_spec(spec.model_dump(mode="json")) == spec
    plain = spec_of(tmp_path, None)
    assert plain.workload.stream.kind == "independent" and plain.certify is None
    asked = spec_of(tmp_path, None, {"exits": True}, certify={"loss": 0.02})
    assert asked.certify is not None
    assert (asked.certify.loss, asked.certify.confidence, asked.certify.share) == (0.02, 0.9, 0.3)


def test_routing_is_read_by_its_old_name_too_and_jobs_keep_their_identity(tmp_path: Path) -> None:
    named = [spec_of(tmp_path, techniques={key: True}) for key in ("routing", "premodel")]
    assert named[0] == named[1]
    assert named[0].techniques.routing
    stored = named[0].model_dump(mode="json")
    assert stored["techniques"]["premodel"] is True
    assert "routing" not in stored["techniques"]
    assert load_spec(stored) == named[0]


def test_a_missing_field_is_told_with_an_example() -> None:
    with pytest.raises(SpecificationError) as raised:
        load_spec({"name": "x", "models": [{"path": "a.onnx"}]})
    assert str(raised.value).splitlines() == [
        "workload: `workload` is missing, e.g. `workload: {images: photos/}`",
        "objectives: `objectives` is missing, e.g. "
        "`objectives: {top1: max, latency_mean_ms: min}`",
    ]
