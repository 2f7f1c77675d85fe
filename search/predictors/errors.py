"""Held-out errors of predictors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trimtab.search.predictors.base import Doubles, Predictor
from trimtab.search.predictors.description import Description
from trimtab_runtime.metrics import find_metric


def error_of(metric: str, predicted: Doubles, measured: Doubles) -> Doubles:
    """How far off: relative to what was measured for a cost, in fractions for a quality."""
    gap = np.abs(predicted - measured)
    found: Doubles = gap / measured if find_metric(metric).kind == "cost" else gap
    return found


def left_out_errors(
    predictor: Predictor, known: Sequence[Description], values: Doubles
) -> Doubles:
    """Errors (n,) of predictions for each member from the other members alone; none where there
    is but one."""
    members = np.array([found.member for found in known])
    errors = []
    for member in dict.fromkeys(members.tolist()):
        out = members == member
        if out.all():
            continue
        told = [found for found, left in zip(known, out, strict=True) if not left]
        wanted = [found for found, left in zip(known, out, strict=True) if left]
        predicted = predictor.predict(told, values[~out], wanted).median
        errors.append(error_of(predictor.metric, predicted, values[out]))
    return np.concatenate(errors) if errors else np.empty(0)


def summed_errors(metric: str, errors: Doubles) -> Mapping[str, float]:
    """Median and number of errors, and the share within 10 % for a cost, within a point (0.01) for
    a quality; {} without any."""
    if not len(errors):
        return {}
    near = 0.1 if find_metric(metric).kind == "cost" else 0.01
    return {
        "median": float(np.median(errors)),
        "within": float((errors <= near).mean()),
        "count": float(len(errors)),
    }
