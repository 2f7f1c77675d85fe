"""A model file as its engine sees it, before any rule of ours is applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab_runtime.definitions.plan import Quantisation
from trimtab_runtime.engines.base import told

Array = np.ndarray[Any, np.dtype[Any]]
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation, one value or one a channel."""


@dataclass(frozen=True)
class TensorFacts:
    """One input or output. A dimension is None where the file leaves it open; `shape` is None
    where the file does not even tell the number of dimensions. `dtype` is NumPy's name. `names`
    are the file's names of the dimensions, '' where it has none; empty where it names none."""

    shape: tuple[int | None, ...] | None
    dtype: str
    quantisation: Quantisation | None
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadedModel:
    """A loaded classifier: one input, one output.

    `operators` counts the operators by type. `kind` is the output kind where the graph tells
    ('logits', 'probabilities'), else None. `run` takes the input tensor and gives the raw output;
    it raises ModelError when the engine refuses the tensor. `normalisation` gives, for a number of
    channels, the (mean, std) that the graph itself applies to what it is fed, None where it does
    not or cannot be read. `doubts` are reasons not to trust the file's answers, `random` types of
    operators that draw random numbers. `quantised_layers` are those of an ONNX file with integer
    weights.
    """

    format: str
    input: TensorFacts
    output: TensorFacts
    operators: tuple[tuple[str, int], ...]
    kind: str | None
    run: Callable[[Array], Array]
    normalisation: Callable[[int], Normalisation | None] = lambda channels: None
    doubts: tuple[str, ...] = ()
    random: tuple[str, ...] = ()
    quantised_layers: int = 0


def first_line(error: BaseException) -> str:
    """The first line of an engine's message, which may go on for pages; at most 600 characters."""
    lines = told(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:600]
