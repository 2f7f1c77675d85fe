"""From what a network gives to what the classes of a plan get."""

from __future__ import annotations

from typing import Any

import numpy as np

from trimtab_runtime.definitions.plan import OutputFormat
from trimtab_runtime.engines.base import real_outputs
from trimtab_runtime.errors import InferenceError


def class_outputs(raw: np.ndarray[Any, Any], fmt: OutputFormat) -> np.ndarray[Any, Any]:
    """Outputs float32 (classes,) of a raw output (1, ...): dequantised, background dropped and,
    where `fmt` has groups, one for each group of the network's own classes. Probabilities of a
    group add up and are renormalised over all groups; logits become those of that sum."""
    values = real_outputs(raw, fmt)
    if fmt.groups is None:
        return values
    order, starts = fmt.group_indices
    if order.max() >= values.size:
        raise InferenceError(
            f"the plan looks at class {order.max()} of the network, which has {values.size}"
        )
    found: np.ndarray[Any, Any] = values[order]
    if fmt.kind == "probabilities":
        found = np.add.reduceat(found, starts)
        found /= max(float(found.sum()), float(np.finfo(np.float32).tiny))
    elif len(starts) < len(order):
        found = np.logaddexp.reduceat(found, starts)
    return found
