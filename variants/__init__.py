"""Making variants: reading members of the zoo, exporting PyTorch modules, quantising,
cutting at taps, fitting heads.

A variant is one model file, named by the sha256 of its content, with the formats of its input and
output. Whatever cannot be made or read raises :class:`trimtab_runtime.errors.ModelError`.
"""

from variants._apart import inspect_apart
from variants._facts import ModelFacts, inspect_model
from variants._heads import Head, fit_heads
from variants._operators import KINDS, OperatorWork, operator_work
from variants._origins import Executed, Origin, find_origins, holds_weights
from variants._quantise import QuantisationRecipe, quantise_w8a8
from variants._segments import cut_segments
from variants._specification import derive_variant, make_variant
from variants._suitability import Suitability, quantisable
from variants._taps import TapPlace, find_taps
from variants._torch_export import export_module
from variants._usable import assert_same_answers, usable_taps

__all__ = [
    "KINDS",
    "Executed",
    "Head",
    "ModelFacts",
    "OperatorWork",
    "Origin",
    "QuantisationRecipe",
    "Suitability",
    "TapPlace",
    "assert_same_answers",
    "cut_segments",
    "derive_variant",
    "export_module",
    "find_origins",
    "find_taps",
    "fit_heads",
    "holds_weights",
    "inspect_apart",
    "inspect_model",
    "make_variant",
    "operator_work",
    "quantisable",
    "quantise_w8a8",
    "usable_taps",
]
