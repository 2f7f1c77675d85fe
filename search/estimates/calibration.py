"""Outputs of variants for the workload, calibrated on the `fit` split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from trimtab.search.estimates.targets import Floats, Ints
from trimtab_runtime.definitions.plan import OutputFormat
from trimtab_runtime.plans.routing import calibrated

_LIMITS = (-3.0, 3.0)  # of log(temperature): 1/20 to 20


@dataclass(frozen=True)
class StageTrace:
    """Calibrated probabilities (inputs, classes) of one variant on the whole workload."""

    name: str
    temperature: float
    probabilities: Floats

    @classmethod
    def calibrate(
        cls, name: str, outputs: Floats, fmt: OutputFormat, fit: Ints, targets: Ints
    ) -> StageTrace:
        """Calibrate `outputs` (inputs, classes) on the rows `fit`, whose classes are `targets`.

        Targets are labels or, without labels, the reference member's answers.
        """
        temperature = fit_temperature(outputs[fit], fmt, targets)
        return cls(name, temperature, calibrated(outputs, fmt, temperature))


def fit_temperature(outputs: Floats, fmt: OutputFormat, targets: Ints) -> float:
    """The temperature that minimises the negative log-likelihood of `targets` (n,).

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017. Rounded to three digits, so
    that the same plan has the same name. 1.0 without inputs to fit on.
    """
    if not len(targets):
        return 1.0
    rows: NDArray[np.int64] = np.arange(len(targets))

    def loss(log_temperature: float) -> float:
        found = calibrated(outputs, fmt, float(np.exp(log_temperature)))
        return float(-np.log(np.maximum(found[rows, targets], 1e-9)).mean())

    best = scipy.optimize.minimize_scalar(loss, bounds=_LIMITS, method="bounded").x
    return float(f"{np.exp(best):.3g}")
