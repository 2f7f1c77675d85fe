"""The arithmetic of decisions: against SciPy, and rows against batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from property_tests import examples
from scipy import special

from trimtab_runtime.definitions.plan import OutputFormat, Quantisation
from trimtab_runtime.plans.routing import calibrated, combine, decide

Array = np.ndarray[Any, np.dtype[Any]]
STORED = OutputFormat("probabilities", quantisation=Quantisation(0.01, 0))
LOGITS, PROBABILITIES = OutputFormat("logits"), OutputFormat("probabilities")

values = st.floats(-40, 40, width=32)
rows = hnp.arrays(np.float32, st.tuples(st.integers(1, 20), st.integers(2, 40)), elements=values)
temperatures = st.floats(0.05, 20)


@examples(150)
@given(rows, temperatures)
def test_logits_are_calibrated_as_scipy_does(logits: Array, temperature: float) -> None:
    before = logits.copy()
    found = calibrated(logits, LOGITS, temperature)
    expected = special.softmax(logits.astype(np.float64) / temperature, axis=1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-6, rtol=1e-3)
    assert np.array_equal(logits, before)


@pytest.mark.parametrize(
    ("fmt", "zero"), [(PROBABILITIES, 1e-7), (STORED, 0.0025)], ids=["float", "quantised"]
)
@examples(60)
@given(logits=rows, temperature=temperatures.filter(lambda t: t != 1.0))
def test_probabilities_are_calibrated_through_their_logarithm(
    fmt: OutputFormat, zero: float, logits: Array, temperature: float
) -> None:
    """Zero counts as a quarter of a quantised output's step, or as 1e-7."""
    outputs = special.softmax(logits, axis=1).astype(np.float32)
    found = calibrated(outputs, fmt, temperature)
    floored = np.log(np.maximum(outputs.astype(np.float64), zero))
    np.testing.assert_allclose(found, special.softmax(floored / temperature, axis=1), atol=3e-5)


def test_probabilities_at_temperature_one_are_left_alone() -> None:
    given_ = np.array([[0.25, 0.5, 0.0]], np.float32)
    assert calibrated(given_, PROBABILITIES, 1.0) is given_


def test_a_probability_of_zero_stays_finite() -> None:
    found = calibrated(np.array([1.0, 0.0], np.float32), PROBABILITIES, 2.0)
    assert np.isfinite(found).all()
    assert found[1] < 1e-3


def test_large_logits_do_not_overflow() -> None:
    found = calibrated(np.array([1e38, -1e38, 0], np.float32), LOGITS, 1.0)
    assert found.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("fmt", [LOGITS, PROBABILITIES], ids=["logits", "probabilities"])
@pytest.mark.parametrize(
    "classes", [2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 100, 127, 130, 1000, 1001]
)
@pytest.mark.parametrize("temperature", [1.0, 0.731, 2.5])
def test_a_batch_is_its_rows_bit_by_bit(
    fmt: OutputFormat, classes: int, temperature: float
) -> None:
    """Replay (batches) must say what the device (rows) says, down to the last bit."""
    generator = np.random.default_rng(classes)
    for count in (1, 2, 3, 8, 37):
        batches = []
        for _ in range(3):
            outputs = generator.normal(0, 4, (count, classes)).astype(np.float32)
            if fmt is PROBABILITIES:
                outputs = special.softmax(outputs, axis=1)
            batches.append(outputs)
        for rule in ("last", "mean"):
            total, singles = None, [None] * count
            for stage, batch in enumerate(batches):
                total = combine(total, calibrated(batch, fmt, temperature), stage, rule)
                index, best = decide(total)
                for row in range(count):
                    outputs = np.array(batch[row])  # memory of its own, as an engine gives
                    found = calibrated(outputs, fmt, temperature)
                    singles[row] = combine(singles[row], found, stage, rule)
                    own_index, own_best = decide(singles[row])
                    assert singles[row].tobytes() == total[row].tobytes()
                    assert (own_index, own_best) == (index[row], best[row])


@examples(60)
@given(rows)
def test_three_stages_are_averaged(logits: Array) -> None:
    parts = [calibrated(logits * scale, LOGITS, 1.0) for scale in (1, 0.5, -1)]
    total = None
    for stage, part in enumerate(parts):
        kept = [p.copy() for p in parts]
        total = combine(total, part, stage, "mean")
        expected = np.mean([p.astype(np.float64) for p in parts[: stage + 1]], axis=0)
        np.testing.assert_allclose(total, expected, atol=1e-6)
        assert all(np.array_equal(a, b) for a, b in zip(kept, parts, strict=True))


def test_the_last_stage_forgets() -> None:
    first, second = np.array([0.9, 0.1], np.float32), np.array([0.2, 0.8], np.float32)
    assert combine(first, second, 1, "last") is second
    assert combine(first, second, 1, "mean").tolist() == pytest.approx([0.55, 0.45])


def test_the_first_of_equals_is_answered() -> None:
    index, value = decide(np.array([[0.25, 0.375, 0.375, 0.0], [0.25] * 4], np.float32))
    assert index.tolist() == [1, 0]
    assert value.tolist() == [0.375, 0.25]


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_never_confident(odd: float) -> None:
    outputs = np.array([odd, odd, 1.0], np.float32)
    with np.errstate(invalid="ignore"):
        confidence = decide(calibrated(outputs, LOGITS, 1.0))[1]
    assert np.isnan(confidence) or (odd == -np.inf and confidence == 1.0)
