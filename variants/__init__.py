"""Making variants: reading members of the zoo, exporting PyTorch modules, quantising,
cutting at taps, fitting heads.

A variant is one model file, named by the sha256 of its content, with the formats of its input and
output. Whatever cannot be made or read raises :class:`trimtab_runtime.errors.ModelError`.
"""

from trimtab.variants.files.operator_files import OperatorFile, write_operator_files
from trimtab.variants.inspection.completion import CompletedInput, complete_input
from trimtab.variants.inspection.contradictions import find_contradictions
from trimtab.variants.inspection.facts import (
    INSPECTION_VERSION,
    ModelFacts,
    inspect_model,
    inspection_engine,
)
from trimtab.variants.inspection.formats import derive_variant, make_variant
from trimtab.variants.inspection.isolated import (
    answer_in_subprocess,
    describe_in_subprocess,
    identity_in_subprocess,
    inspect_in_subprocess,
    open_and_inspect_in_subprocess,
    open_in_subprocess,
    operators_in_subprocess,
    origins_in_subprocess,
    work_in_subprocess,
)
from trimtab.variants.inspection.operators import KINDS, OperatorWork, operator_work
from trimtab.variants.inspection.origins import Executed, Origin, find_origins, holds_weights
from trimtab.variants.intake.source import source_identity
from trimtab.variants.intake.versions import NewestVersions, newest_versions
from trimtab.variants.intake.view import VIEW_VERSION, View, open_view
from trimtab.variants.intake.wishes import Wishes
from trimtab.variants.metadata.labels import LabelFit, fit_labels
from trimtab.variants.metadata.reading import ModelDescription, describe_model
from trimtab.variants.quantisation.isolated import (
    block_errors_in_subprocess,
    int8_blocks_in_subprocess,
    quantisation_details,
    quantisation_work,
    quantise_in_subprocess,
)
from trimtab.variants.quantisation.registry import SCHEMES, Scheme
from trimtab.variants.quantisation.sensitivity import BlockError, Int8Blocks, block_errors_alone
from trimtab.variants.quantisation.static import QuantisationRecipe
from trimtab.variants.quantisation.suitability import NothingToGain, Suitability, quantisable
from trimtab.variants.quantisation.w8a8 import quantise_w8a8
from trimtab.variants.segments.cutting import cut_segments, read_head
from trimtab.variants.segments.heads import Head, fit_heads
from trimtab.variants.segments.isolated import cut_in_subprocess, taps_in_subprocess
from trimtab.variants.segments.taps import TapPlace, find_taps
from trimtab.variants.segments.verified_taps import assert_same_answers, usable_taps
from trimtab.variants.sizes.isolated import resize_in_subprocess, sizes_in_subprocess
from trimtab.variants.sizes.resizing import SizeTrial, resized_input, why_one_size
from trimtab.variants.sizes.resizing import text_of as size_text
from trimtab.variants.torch_export.building import module_file
from trimtab.variants.torch_export.checks import Agreement
from trimtab.variants.torch_export.export import (
    ExportedModule,
    export_module,
    exported_module,
    module_source,
)

__all__ = [
    "INSPECTION_VERSION",
    "KINDS",
    "SCHEMES",
    "VIEW_VERSION",
    "Agreement",
    "BlockError",
    "CompletedInput",
    "Executed",
    "ExportedModule",
    "Head",
    "Int8Blocks",
    "LabelFit",
    "ModelDescription",
    "ModelFacts",
    "NewestVersions",
    "NothingToGain",
    "OperatorFile",
    "OperatorWork",
    "Origin",
    "QuantisationRecipe",
    "Scheme",
    "SizeTrial",
    "Suitability",
    "TapPlace",
    "View",
    "Wishes",
    "answer_in_subprocess",
    "assert_same_answers",
    "block_errors_alone",
    "block_errors_in_subprocess",
    "complete_input",
    "cut_in_subprocess",
    "cut_segments",
    "derive_variant",
    "describe_in_subprocess",
    "describe_model",
    "export_module",
    "exported_module",
    "find_contradictions",
    "find_origins",
    "find_taps",
    "fit_heads",
    "fit_labels",
    "holds_weights",
    "identity_in_subprocess",
    "inspect_in_subprocess",
    "inspect_model",
    "inspection_engine",
    "int8_blocks_in_subprocess",
    "make_variant",
    "module_file",
    "module_source",
    "newest_versions",
    "open_and_inspect_in_subprocess",
    "open_in_subprocess",
    "open_view",
    "operator_work",
    "operators_in_subprocess",
    "origins_in_subprocess",
    "quantisable",
    "quantisation_details",
    "quantisation_work",
    "quantise_in_subprocess",
    "quantise_w8a8",
    "read_head",
    "resize_in_subprocess",
    "resized_input",
    "size_text",
    "sizes_in_subprocess",
    "source_identity",
    "taps_in_subprocess",
    "usable_taps",
    "why_one_size",
    "work_in_subprocess",
    "write_operator_files",
]
