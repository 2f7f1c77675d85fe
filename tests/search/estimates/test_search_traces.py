"""Temperatures that are known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from trimtab.search.estimates.calibration import StageTrace, fit_temperature
from trimtab_runtime.definitions.plan import OutputFormat
from trimtab_runtime.plans.routing import calibrated

LOGITS, PROBABILITIES = OutputFormat("logits"), OutputFormat("probabilities")
COUNT = 6000


def said(temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose labels are drawn at `temperature`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 3, (COUNT, 7)).astype(np.float32)
    cumulated = special.softmax(logits / temperature, axis=1).cumsum(1)
    labels = (generator.uniform(0, 1, (COUNT, 1)) * cumulated[:, -1:] > cumulated).sum(1)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.3, 0.8, 1.0, 1.7, 5.0])
@pytest.mark.parametrize("fmt", [LOGITS, PROBABILITIES], ids=["logits", "probabilities"])
def test_the_temperature_is_found(temperature: float, fmt: OutputFormat) -> None:
    logits, labels = said(temperature)
    outputs = logits if fmt is LOGITS else special.softmax(logits, axis=1)
    assert fit_temperature(outputs, fmt, labels) == pytest.approx(temperature, rel=0.06)


def test_it_is_no_worse_than_any_other() -> None:
    logits, labels = said(1.7)
    rows = np.arange(COUNT)

    def loss(temperature: float) -> float:
        return float(-np.log(calibrated(logits, LOGITS, temperature)[rows, labels]).mean())

    best = loss(fit_temperature(logits, LOGITS, labels))
    assert all(best <= loss(t) + 1e-5 for t in np.geomspace(0.5, 10, 41))


def test_it_has_three_digits_and_is_the_same_again() -> None:
    logits, labels = said(1.2345)
    found = fit_temperature(logits, LOGITS, labels)
    assert found == float(f"{found:.3g}")
    assert found == fit_temperature(logits, LOGITS, labels)


def test_it_stays_within_bounds() -> None:
    logits = np.eye(4, dtype=np.float32)
    right = fit_temperature(logits, LOGITS, np.arange(4))
    wrong = fit_temperature(logits, LOGITS, (np.arange(4) + 1) % 4)
    assert 0.04 < right < 0.06
    assert 19 < wrong < 21


def test_nothing_to_fit_on() -> None:
    nothing = np.empty((0, 4), np.float32)
    assert fit_temperature(nothing, LOGITS, np.empty(0, np.int64)) == 1.0


def test_a_trace_is_calibrated_on_fit_alone() -> None:
    logits, labels = said(2.0)
    fit = np.arange(0, COUNT, 2)
    spoiled = logits.copy()
    spoiled[1::2] = 0
    trace = StageTrace.calibrate("a", logits, LOGITS, fit, labels[fit])
    assert trace.temperature == fit_temperature(logits[fit], LOGITS, labels[fit])
    assert np.array_equal(trace.probabilities, calibrated(logits, LOGITS, trace.temperature))
    other = StageTrace.calibrate("a", spoiled, LOGITS, fit, labels[fit])
    assert other.temperature == trace.temperature
