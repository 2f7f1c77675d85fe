"""Does w8a8 quantisation apply to a model?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trimtab.variants.inspection.facts import ModelFacts, inspect_model
from trimtab_runtime.errors import ModelError

QUANTISED_LAYERS = ("Conv", "Gemm", "MatMul")
"""Operators whose weights and activations are worth quantising."""

INTEGER_OPERATORS = (
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QAttention",
    "QGemm",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
)
"""Operators that only quantised graphs have."""


class NothingToGain(ModelError):
    """A scheme would make nothing that a simpler one has not."""


@dataclass(frozen=True)
class Suitability:
    """Whether a technique applies, and the reason where it does not (else '')."""

    applies: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.applies


def quantisable(model: ModelFacts | Path | str) -> Suitability:
    """Whether :func:`variants.quantise_w8a8` applies to a model (facts, or the path of a file).

    Raises ModelError when a path names no usable model.
    """
    facts = model if isinstance(model, ModelFacts) else inspect_model(model)
    operators = dict(facts.operators)
    if facts.format != "onnx":
        return Suitability(False, f"{facts.format} files cannot be quantised here, only ONNX")
    # One that only its ends have says nothing of its layers.
    ends = {
        "DequantizeLinear": facts.input_quantisation is not None,
        "QuantizeLinear": facts.output_quantisation is not None,
    }
    integer = [name for name in INTEGER_OPERATORS if operators.get(name, 0) > ends.get(name, 0)]
    if integer:
        return Suitability(False, f"it is quantised already (it has {', '.join(integer)})")
    if not any(name in operators for name in QUANTISED_LAYERS):
        return Suitability(False, f"it has no {', '.join(QUANTISED_LAYERS)} to quantise")
    return Suitability(True)
