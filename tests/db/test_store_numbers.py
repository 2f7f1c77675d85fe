"""Whatever number is written is read again, by every engine, and is no damage."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from property_tests import examples
from sqlalchemy import text

from trimtab.db import CorrectionRecord, DeviceRecord, JobRecord, Store
from trimtab.db._codec import encode
from trimtab.db._seal import seal
from trimtab_runtime.errors import StoreError

AT = datetime(2026, 3, 1, tzinfo=UTC)
RECORD = CorrectionRecord("j", "top1", "dev", {}, 3, 0.5, 0.25, created_at=AT)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
ODD = (0.0, -0.0, 5e-324, -5e-324, 2.2e-308, 1e22, 1e300, -1.7976931348623157e308, 0.1, 2.0**63)
WHOLE = (0, -(2**63), 2**63, 10**30, -(10**3999))


@pytest.fixture
def filled(store: Store) -> Store:
    store.put_device(DeviceRecord("dev", "local", {}))
    store.add_job(JobRecord("j", "job", {}, "aa", started_at=AT))
    return store


def written(store: Store, error: float, told: Any) -> CorrectionRecord:
    record = replace(RECORD, error_held_out=error, model={"told": told})
    store.put_corrections([record])
    return store.list_corrections()[0]


def test_every_finite_number_is_read_as_it_was_written(filled: Store) -> None:
    @examples(300)
    @given(error=FINITE, told=st.lists(FINITE | st.integers()))
    @example(error=-0.0, told=[*ODD, *WHOLE])
    @example(error=5e-324, told=[])
    def check(error: float, told: list[float]) -> None:
        found = written(filled, error, told)
        assert found.error_held_out == error
        assert found.model["told"] == told
        assert [type(value) for value in found.model["told"]] == list(map(type, told))

    check()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400], ids=str)
def test_what_is_no_finite_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(StoreError, match=r"CorrectionRecord\.error_held_out must be finite"):
        encode(replace(RECORD, error_held_out=value))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "must be finite"),
        ([{"a": math.inf}], r"told\[0\]\.a must be finite"),
        (10**5000, "at most 4000 digits"),
    ],
    ids=["nan", "infinity", "digits"],
)
def test_what_json_does_not_carry_back_is_refused_by_name(value: Any, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        encode(replace(RECORD, model={"told": value}))


def test_a_number_of_any_length_is_refused_by_name() -> None:
    with pytest.raises(StoreError, match=r"CorrectionRecord\.plans must be an integer of 64 bits"):
        encode(replace(RECORD, plans=10**5000))


def test_a_negative_zero_of_an_earlier_version_is_no_damage(filled: Store) -> None:
    """It was sealed as it was; SQLite gives it back without its sign."""
    filled.put_corrections([replace(RECORD, error_before=0.0)])
    was = seal("trimtab_correction", {**encode(RECORD), "error_before": -0.0}.values())
    with filled.transaction(write=True) as connection:
        change = "UPDATE trimtab_correction SET error_before = -0.0, checksum = :was"
        connection.execute(text(change), {"was": was})
    assert filled.list_corrections()[0].error_before == 0.0
    with filled.transaction(write=True) as connection:
        connection.execute(text("UPDATE trimtab_correction SET error_held_out = 0.0"))
    with pytest.raises(StoreError, match="not what was written"):
        filled.list_corrections()
