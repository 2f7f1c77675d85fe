"""What a specification says against what a model file seems to say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trimtab.variants.files.base import Normalisation
from trimtab.variants.files.onnx_input import fed_range
from trimtab.variants.inspection.facts import ModelFacts
from trimtab.variants.inspection.preprocessing import VALUE_RANGES
from trimtab_runtime.definitions.plan import InputFormat

RAW: Normalisation = ((0.0,), (1.0,))
"""The mean and std that leave pixels as they are."""


def find_contradictions(
    facts: ModelFacts, fed: InputFormat, output: Mapping[str, Any]
) -> list[str]:
    """Sentences about what was said of an input, which is `fed` like that, and of an `output`,
    against what the file seems to say; what was said is used."""
    found = []
    inside = facts.normalised_inside
    if inside is not None and facts.dtype.startswith("float"):
        given, wanted = (fed.mean, fed.std), fed_pixels(inside)
        if not all(np.all(np.isclose(a, b)) for a, b in zip(given, wanted, strict=True)):
            found.append(
                f"the normalisation is used as given, but the graph itself takes off "
                f"{_listed(inside[0])} and divides by {_listed(inside[1])}: leave them out where "
                "this is the normalisation of training"
            )
    if facts.inner_size is not None and fed.fit != "inside":
        height, width = facts.inner_size
        found.append(
            f"images are resized to {fed.size[0]}x{fed.size[1]} as said, but the graph itself "
            f"brings images of any size to {height}x{width}: leave input.size out (or say fit: "
            "inside), and it is fed them as they are"
        )
    kind = output.get("kind")
    if kind not in (None, "binary", facts.output_kind) and facts.output_kind is not None:
        found.append(
            f"output.kind: {kind} is used, but the file seems to give {facts.output_kind}"
        )
    return found


def fed_pixels(inside: Normalisation) -> Normalisation:
    """The mean and std that make of pixels what a graph that normalises for itself takes."""
    low, step = VALUE_RANGES[fed_range(inside)]
    return (low,), (step,)


def _listed(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(values) == 1 else f"[{', '.join(f'{v:g}' for v in values)}]"
