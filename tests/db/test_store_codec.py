"""What the encoder refuses, and what it makes of numpy's numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.db import PlanMetricRecord, PlanRecord, TraceRecord, VariantRecord, VerificationRecord
from trimtab.db._codec import encode, encode_changes
from trimtab_runtime.errors import StoreError

METRIC = PlanMetricRecord("j", "p", "top1", "tune", "replayed", 0.5)
VARIANT = VariantRecord("k", "m", "n", "onnx", None, None, {}, {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), np.float32("nan")])
def test_a_metric_that_is_not_a_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(StoreError, match=r"PlanMetricRecord\.value must be finite"):
        encode(replace(METRIC, value=value))
    with pytest.raises(StoreError, match=r"PlanMetricRecord\.high must be finite"):
        encode(replace(METRIC, high=value))
    with pytest.raises(StoreError, match=r"VerificationRecord\.samples\.ms\[1\] must be finite"):
        encode(VerificationRecord("j", "p", None, {}, {"ms": [1.0, value]}))


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"path": Path("x")}, r"recipe\.path must be JSON"),
        ({"array": np.zeros(3)}, r"recipe\.array must be JSON"),
        ({"steps": [{1: 2}]}, r"recipe\.steps\[0\] must have texts as keys"),
        ([1], r"recipe must be a dict"),
    ],
)
def test_what_json_does_not_carry_is_refused_by_place(recipe: Any, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        encode(replace(VARIANT, recipe=recipe))


def test_states_times_and_types_are_checked() -> None:
    with pytest.raises(StoreError, match="must be one of ok, failed, got 'fine'"):
        encode(replace(VARIANT, state="fine"))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="needs a reason"):
        encode(replace(VARIANT, state="failed"))
    with pytest.raises(StoreError, match="created_at must be a time with a zone"):
        encode(TraceRecord("k", "v", "w", "e", None, created_at=datetime(2026, 1, 1)))  # noqa: DTZ001
    with pytest.raises(StoreError, match=r"VariantRecord\.name must be a text"):
        encode(replace(VARIANT, name=Path("x")))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="integer of 64 bits"):
        encode(replace(VARIANT, size_bytes=2**63))
    with pytest.raises(StoreError, match="must be a number, got True"):
        encode(replace(METRIC, value=True))


def test_numbers_of_numpy_become_plain_ones() -> None:
    values = encode(replace(METRIC, value=np.float32(0.5), low=np.int64(0)))  # type: ignore[arg-type]
    assert [type(values[name]) for name in ("value", "low")] == [float, float]

    plan = PlanRecord("j", "p", "", {"n": np.int32(3), "x": np.float64(2)}, on_front=np.bool_(1))  # type: ignore[arg-type]
    encoded = encode(plan)
    assert encoded["definition"] == {"n": 3, "x": 2.0}
    assert type(encoded["definition"]["n"]) is int
    assert encoded["on_front"] is True


def test_changes_are_checked_as_records_are() -> None:
    assert encode_changes(PlanRecord, {"feasible": "no"}) == {"feasible": "no"}
    with pytest.raises(StoreError, match="must be one of yes, no, unknown"):
        encode_changes(PlanRecord, {"feasible": "maybe"})
    with pytest.raises(StoreError, match="has no field colour"):
        encode_changes(PlanRecord, {"colour": "red"})
