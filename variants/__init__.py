"""Making variants: reading members of the zoo, exporting PyTorch modules, quantising.

A variant is one model file, named by the sha256 of its content, with the formats of its input and
output. Whatever cannot be made or read raises :class:`trimtab_runtime.errors.ModelError`.
"""

from variants._apart import inspect_apart
from variants._facts import ModelFacts, inspect_model
from variants._quantise import QuantisationRecipe, quantise_w8a8
from variants._specification import derive_variant, make_variant
from variants._suitability import Suitability, quantisable
from variants._torch_export import export_module

__all__ = [
    "ModelFacts",
    "QuantisationRecipe",
    "Suitability",
    "derive_variant",
    "export_module",
    "inspect_apart",
    "inspect_model",
    "make_variant",
    "quantisable",
    "quantise_w8a8",
]
