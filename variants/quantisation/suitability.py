"""Does w8a8 quantisation apply to a model?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trimtab.variants.inspection.facts import ModelFacts, inspect_model
from trimtab_runtime.errors import ModelError

QUANTISED_LAYERS = ("Conv", "Gemm", "MatMul")
"""Operators whose weights and activations are worth quantising."""

FUSED_LAYERS = ("FusedConv", "FusedGemm", "FusedMatMul", "ReorderInput", "ReorderOutput")
"""Operators that onnxruntime's optimiser saves, in whose place quantisers want those before."""

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
    if facts.quantised_layers:  # operators at its ends alone say nothing of its layers
        integer = [name for name in INTEGER_OPERATORS if name in operators]
        return Suitability(False, f"it is quantised already (it has {', '.join(integer)})")
    fused = [name for name in FUSED_LAYERS if name in operators]
    if fused:
        return Suitability(
            False,
            f"onnxruntime had optimised it when it was saved (it has {', '.join(fused)}), and its "
            "quantiser reads graphs from before that; take the file that it was made of",
        )
    if not any(name in operators for name in QUANTISED_LAYERS):
        return Suitability(False, f"it has no {', '.join(QUANTISED_LAYERS)} to quantise")
    return Suitability(True)
