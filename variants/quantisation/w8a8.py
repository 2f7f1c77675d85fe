"""Static w8a8 quantisation of ONNX models with onnxruntime: QDQ, unsigned activations."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.variants.files.base import Array, first_line
from trimtab.variants.files.half import widen
from trimtab.variants.files.onnx import KEEPS_VALUES, producers, read_graph
from trimtab.variants.files.simplify import write_plain
from trimtab.variants.files.watchdog import step
from trimtab.variants.files.writing import strip_notes, write_model
from trimtab.variants.quantisation.suitability import QUANTISED_LAYERS, quantisable
from trimtab_runtime.definitions.plan import InputFormat, Variant
from trimtab_runtime.errors import ModelError
from trimtab_runtime.images.preprocess import Preprocessor

if TYPE_CHECKING:
    import onnx

METHODS = ("minmax", "percentile", "entropy")


@dataclass(frozen=True)
class QuantisationRecipe:
    """How activations and weights are quantised; part of a variant's lineage.

    `method` finds the activations' ranges; `percentile` (0..100] is used by 'percentile' alone.
    `reduce_range` keeps weights to 7 bits: u8s8 products saturate on AVX2 without VNNI. The first
    `float_first` and last `float_last` layers (Conv, Gemm, MatMul) stay float. `float_output`
    leaves the scores themselves unquantised, or a 256-step grid makes ties of them. Of more than
    `max_images` calibration images a seeded sample is used.
    """

    method: str = "minmax"
    percentile: float = 99.999
    per_channel: bool = True
    reduce_range: bool = True
    float_first: int = 0
    float_last: int = 0
    float_output: bool = True
    max_images: int = 100

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if not 0 < self.percentile <= 100:
            raise ValueError(f"0 < percentile <= 100 must hold, got {self.percentile}")
        if min(self.float_first, self.float_last) < 0 or self.max_images < 1:
            raise ValueError("float_first >= 0, float_last >= 0, max_images >= 1 must hold")


def quantise_w8a8(
    source: Path,
    variant: Variant,
    images: Sequence[Path | str | Array],
    out: Path,
    recipe: QuantisationRecipe | None = None,
    seed: int = 0,
) -> Path:
    """Quantise the float ONNX file `source` of `variant` into `out`.

    `images` (paths, or uint8 arrays (H, W[, C])) go one by one through the variant's own
    preprocessing, so memory holds one image's activations. The same file, images, recipe and seed
    give the same bytes on the same version of onnxruntime.

    Raises ModelError when quantisation does not apply, there are no images, or nothing of the
    graph could be quantised; WorkloadError when an image cannot be read.
    """
    recipe = recipe or QuantisationRecipe()
    source, out = Path(source), Path(out)
    suitable = quantisable(source)
    if not suitable:
        raise ModelError(f"{variant.name}: cannot be quantised: {suitable.reason}")
    if not images:
        raise ModelError(f"{variant.name}: quantisation needs images to calibrate on, got none")
    chosen = _sample(images, recipe.max_images, seed)
    with tempfile.TemporaryDirectory(prefix="trimtab-w8a8-") as folder, _quiet():
        prepared = _prepare(source, variant, Path(folder))
        model = _quantised(prepared, variant, chosen, recipe, Path(folder))
    if recipe.float_output:
        _free_output(model)
    if not _quantised_layers(model):
        raise ModelError(
            f"{variant.name}: no {', '.join(QUANTISED_LAYERS)} of it could be quantised; their "
            "weights must be constants, and the recipe must leave some layers to quantise"
        )
    strip_notes(model)
    write_model(model, out)
    return out


def _sample(images: Sequence[Any], most: int, seed: int) -> list[Any]:
    if len(images) <= most:
        return list(images)
    kept = np.random.default_rng(seed).choice(len(images), most, replace=False)
    return [images[index] for index in sorted(kept)]


class _Reader:
    """Feeds calibration images one at a time (the interface of CalibrationDataReader)."""

    def __init__(self, images: Sequence[Any], name: str, fmt: InputFormat) -> None:
        self._images, self._name, self._format = images, name, fmt
        self._next, self._end = 0, len(images)

    def __len__(self) -> int:
        return len(self._images)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._next, self._end = start_index, end_index

    def get_next(self) -> dict[str, Array] | None:
        if self._next >= self._end:
            return None
        image = self._images[self._next]
        self._next += 1
        step()
        source = str(image) if isinstance(image, Path) else image
        return {self._name: Preprocessor(source).tensor(self._format)}


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime.quantization logs advice on the root logger, and prints each step."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _prepare(source: Path, variant: Variant, folder: Path) -> Path:
    """A plain copy of the graph in `folder`, its input of the variant's shape."""
    fmt = variant.input
    image = (fmt.channels, *fmt.size) if fmt.layout == "nchw" else (*fmt.size, fmt.channels)
    model = read_graph(source)
    widen(model)
    try:
        return write_plain(model, (1, *image), folder)
    except ModelError as error:
        raise ModelError(
            f"{variant.name}: cannot be prepared for quantisation ({error})"
        ) from error


def _quantised(
    prepared: Path,
    variant: Variant,
    images: Sequence[Any],
    recipe: QuantisationRecipe,
    folder: Path,
) -> onnx.ModelProto:
    import onnx
    from onnxruntime import quantization as ort

    graph = onnx.load(str(prepared)).graph
    constants = {tensor.name for tensor in graph.initializer}
    (name,) = (v.name for v in graph.input if v.name not in constants)
    target = folder / "quantised.onnx"
    methods = {
        "minmax": ort.CalibrationMethod.MinMax,
        "percentile": ort.CalibrationMethod.Percentile,
        "entropy": ort.CalibrationMethod.Entropy,
    }
    # The stride is what makes calibration stream. (CalibMaxIntermediateOutputs looks like the
    # option for it, but onnxruntime 1.31 then throws the collected ranges away.)
    extra = {"CalibStridedMinMax": 1, "CalibPercentile": recipe.percentile}
    try:
        ort.quantize_static(
            str(prepared),
            str(target),
            _Reader(images, name, variant.input),
            quant_format=ort.QuantFormat.QDQ,
            per_channel=recipe.per_channel,
            reduce_range=recipe.reduce_range,
            activation_type=ort.QuantType.QUInt8,
            weight_type=ort.QuantType.QInt8,
            nodes_to_exclude=_kept_float(graph, recipe),
            calibrate_method=methods[recipe.method],
            extra_options=extra,
        )
    except (ValueError, TypeError, RuntimeError, AssertionError, KeyError) as error:
        raise ModelError(
            f"{variant.name}: onnxruntime cannot quantise it ({first_line(error)})"
        ) from error
    return onnx.load(str(target))


def _kept_float(graph: onnx.GraphProto, recipe: QuantisationRecipe) -> list[str]:
    """Names of the nodes that stay float: those of the recipe, and the activation that makes
    probabilities of the scores."""
    layers = [node.name for node in graph.node if node.op_type in QUANTISED_LAYERS]
    kept = layers[: recipe.float_first] + layers[max(0, len(layers) - recipe.float_last) :]
    if recipe.float_output:
        made_by = producers(graph)
        node = made_by.get(graph.output[0].name)
        while node is not None and node.op_type in {"Softmax", "Sigmoid", *KEEPS_VALUES}:
            kept.append(node.name)
            node = made_by.get(node.input[0])
    return kept


def _free_output(model: onnx.ModelProto) -> None:
    """Remove the QuantizeLinear -> DequantizeLinear pair behind the layer that makes the scores.

    onnxruntime has kernels with quantised inputs and a float output for Gemm and MatMul; a Conv
    would fall back to float, and keeps its pair.
    """
    graph = model.graph
    made_by = producers(graph)
    end = graph.output[0].name
    node = made_by[end]
    while node.op_type in {"Softmax", "Sigmoid", *KEEPS_VALUES} - {"DequantizeLinear"}:
        end = node.input[0]
        if end not in made_by:
            return
        node = made_by[end]
    if node.op_type != "DequantizeLinear" or node.input[0] not in made_by:
        return
    quantise = made_by[node.input[0]]
    layer = made_by.get(quantise.input[0])
    readers = [n for n in graph.node if quantise.output[0] in n.input]
    if layer is None or layer.op_type not in ("Gemm", "MatMul") or len(readers) != 1:
        return
    layer.output[0] = end
    graph.node.remove(quantise)
    graph.node.remove(node)


def _quantised_layers(model: onnx.ModelProto) -> int:
    """How many Conv, Gemm and MatMul read a dequantised activation and a dequantised weight."""
    made_by = producers(model.graph)
    return sum(
        all(n in made_by and made_by[n].op_type == "DequantizeLinear" for n in node.input[:2])
        for node in model.graph.node
        if node.op_type in QUANTISED_LAYERS
    )
