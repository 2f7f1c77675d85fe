"""w8: weights of matrix products in int8, activations quantised while the network runs. It needs
no calibration, and its ranges fit every image; convolutions stay float."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trimtab.variants.files.base import Array, first_line
from trimtab.variants.files.onnx import read_graph
from trimtab.variants.files.writing import strip_notes, write_model
from trimtab.variants.inspection.facts import ModelFacts
from trimtab.variants.quantisation.static import quiet, write_prepared
from trimtab.variants.quantisation.suitability import Suitability, quantisable
from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.errors import ModelError

_PRODUCTS = ("Gemm", "MatMul")


@dataclass(frozen=True)
class DynamicRecipe:
    """How weights are quantised; part of a variant's lineage. `reduce_range` keeps them to 7
    bits: u8s8 products saturate on AVX2 without VNNI."""

    per_channel: bool = True
    reduce_range: bool = True


def has_matrix_products(facts: ModelFacts) -> Suitability:
    """Whether w8 applies: float ONNX, with more matrix products than convolutions."""
    suitable = quantisable(facts)
    if not suitable:
        return suitable
    operators = dict(facts.operators)
    products = sum(operators.get(name, 0) for name in _PRODUCTS)
    convolutions = operators.get("Conv", 0)
    if products <= convolutions:
        return Suitability(
            False, f"it has {products} matrix products and {convolutions} convolutions, which w8 "
            "leaves in float"
        )  # fmt: skip
    return Suitability(True)


def quantise_dynamic(
    source: Path,
    variant: Variant,
    images: Sequence[Path | str | Array],
    out: Path,
    recipe: DynamicRecipe | None = None,
    seed: int = 0,
) -> None:
    """Quantise the matrix products of the float ONNX file `source` of `variant` into `out`, by
    onnxruntime's `quantize_dynamic`; `images` and `seed` are not used.

    Raises ModelError where it does not apply, or onnxruntime cannot.
    """
    from onnxruntime import quantization as ort

    recipe, source, out = recipe or DynamicRecipe(), Path(source), Path(out)
    suitable = quantisable(source)
    if not suitable:
        raise ModelError(f"{variant.name}: cannot be quantised: {suitable.reason}")
    with tempfile.TemporaryDirectory(prefix="trimtab-w8-") as folder, quiet():
        made = Path(folder) / "made.onnx"
        prepared = write_prepared(source, variant, Path(folder))
        _forget_shapes(prepared)
        try:
            ort.quantize_dynamic(
                str(prepared),
                str(made),
                op_types_to_quantize=list(_PRODUCTS),
                per_channel=recipe.per_channel,
                reduce_range=recipe.reduce_range,
                weight_type=ort.QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )
        except Exception as error:  # errors of onnx and onnxruntime share no public base class
            raise ModelError(
                f"{variant.name}: cannot be quantised: onnxruntime cannot ({first_line(error)})"
            ) from error
        model = read_graph(made)
    strip_notes(model)
    write_model(model, out)


def _forget_shapes(path: Path) -> None:
    """Without shapes of tensors, which onnxruntime infers itself: it turns Gemm into MatMul with
    its weights the other way round, and then finds that they contradict those of before."""
    model = read_graph(path)
    del model.graph.value_info[:]
    write_model(model, path)
