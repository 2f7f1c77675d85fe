"""Static quantisation of one ONNX network with onnxruntime: QDQ, unsigned activations.

    with StaticQuantiser(file, variant, images, recipe) as quantiser:
        model = quantiser.quantised(kept_float)

The graph is made plain and its ranges are found once; it can be quantised as often as wanted.
"""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from trimtab.variants.files.base import Array, first_line
from trimtab.variants.files.half import widen
from trimtab.variants.files.onnx import (
    KEEPS_VALUES,
    load_session,
    producers,
    read_graph,
    run_session,
)
from trimtab.variants.files.simplify import write_plain
from trimtab.variants.files.watchdog import step
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
    `max_images` calibration images a seeded sample is used. `symmetric` activations have a zero
    point of 0, in bytes with a sign.
    """

    method: str = "minmax"
    percentile: float = 99.999
    per_channel: bool = True
    reduce_range: bool = True
    float_first: int = 0
    float_last: int = 0
    float_output: bool = True
    max_images: int = 100
    symmetric: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if not 0 < self.percentile <= 100:
            raise ValueError(f"0 < percentile <= 100 must hold, got {self.percentile}")
        if min(self.float_first, self.float_last) < 0 or self.max_images < 1:
            raise ValueError("float_first >= 0, float_last >= 0, max_images >= 1 must hold")


class StaticQuantiser:
    """Quantises the float ONNX file `source` of `variant`, calibrated on `images` (paths, or
    uint8 arrays (H, W[, C])). They go one by one through the variant's own preprocessing, so
    memory holds one image's activations.

    `plain` is the float graph that is quantised, in a file of its own. Raises ModelError when
    quantisation does not apply or there are no images; WorkloadError when one cannot be read.
    """

    def __init__(
        self,
        source: Path,
        variant: Variant,
        images: Sequence[Path | str | Array],
        recipe: QuantisationRecipe,
        seed: int = 0,
    ) -> None:
        suitable = quantisable(source)
        if not suitable:
            raise ModelError(f"{variant.name}: cannot be quantised: {suitable.reason}")
        if not images:
            raise ModelError(
                f"{variant.name}: quantisation needs images to calibrate on, got none"
            )
        self._variant, self.recipe = variant, recipe
        self._images = _sample(images, recipe.max_images, seed)
        self._open = ExitStack()
        self._folder = Path(
            self._open.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-quantise-"))
        )
        try:
            self.plain = write_prepared(source, variant, self._folder)
        except ModelError:
            self._open.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def tensors(self) -> Iterator[Array]:
        """The calibration images as the network gets them, one at a time."""
        reader = _Reader(self._images, "image", self._variant.input)
        while (found := reader.get_next()) is not None:
            yield found["image"]

    def quantised(self, kept: Collection[str] = ()) -> onnx.ModelProto:
        """The quantised graph. Nodes named in `kept`, and those of the recipe, stay float.
        Raises ModelError where nothing is left that could be quantised."""
        with quiet():
            model = self._quantised(kept)
        if self.recipe.float_output:
            _free_output(model)
        if not quantised_layers(model):
            raise ModelError(
                f"{self._variant.name}: no {', '.join(QUANTISED_LAYERS)} of it could be "
                "quantised; their weights must be constants, and the recipe must leave some "
                "layers to quantise"
            )
        return model

    def _quantised(self, kept: Collection[str]) -> onnx.ModelProto:
        import onnx
        from onnxruntime import quantization as ort

        graph = onnx.load(str(self.plain)).graph
        constants = {tensor.name for tensor in graph.initializer}
        (name,) = (v.name for v in graph.input if v.name not in constants)
        target, recipe = self._folder / "quantised.onnx", self.recipe
        methods = {
            "minmax": ort.CalibrationMethod.MinMax,
            "percentile": ort.CalibrationMethod.Percentile,
            "entropy": ort.CalibrationMethod.Entropy,
        }
        # The stride is what makes calibration stream. (CalibMaxIntermediateOutputs looks like the
        # option for it, but onnxruntime 1.31 then throws the collected ranges away.)
        extra = {"CalibStridedMinMax": 1, "CalibPercentile": recipe.percentile}
        extra |= {"ActivationSymmetric": True} if recipe.symmetric else {}
        try:
            ort.quantize_static(
                str(self.plain),
                str(target),
                _Reader(self._images, name, self._variant.input),
                quant_format=ort.QuantFormat.QDQ,
                per_channel=recipe.per_channel,
                reduce_range=recipe.reduce_range,
                activation_type=ort.QuantType.QInt8 if recipe.symmetric else ort.QuantType.QUInt8,
                weight_type=ort.QuantType.QInt8,
                nodes_to_exclude=sorted({*_kept_float(graph, recipe), *kept}),
                calibrate_method=methods[recipe.method],
                extra_options=extra,
                calibration_cache_path=str(self._folder / "ranges.json"),
            )
        except Exception as error:  # errors of onnx and onnxruntime share no public base class
            reason = self._not_finite(name) or f"onnxruntime cannot ({first_line(error)})"
            raise ModelError(f"{self._variant.name}: cannot be quantised: {reason}") from error
        return onnx.load(str(target))

    def _not_finite(self, name: str) -> str:
        """Which calibration image it answers with no numbers; '' where there is none."""
        session = load_session(self.plain, optimised=False, name=self._variant.name)
        for number, tensor in enumerate(self.tensors()):
            if not np.isfinite(run_session(self.plain, session, name, tensor)).all():
                image = self._images[number]
                shown = image.name if isinstance(image, Path) else f"number {number}"
                return (
                    f"it answers the calibration image {shown} with NaN or infinity, which no "
                    "range holds; leave such images out, or mend the model"
                )
        return ""


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
def quiet() -> Iterator[None]:
    """onnxruntime.quantization logs advice on the root logger, prints each step, and warns of
    ranges of NaN, which it then cannot use."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)
            yield
    finally:
        logging.disable(before)


def write_prepared(source: Path, variant: Variant, folder: Path) -> Path:
    """A plain copy of the graph in `folder`, its input of the variant's shape."""
    fmt = variant.input
    sides = (None, None) if fmt.fit == "inside" else fmt.size
    image = (fmt.channels, *sides) if fmt.layout == "nchw" else (*sides, fmt.channels)
    model = read_graph(source)
    widen(model)
    try:
        return write_plain(model, (1, *image), folder)
    except ModelError as error:
        raise ModelError(
            f"{variant.name}: cannot be prepared for quantisation ({error})"
        ) from error


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


def quantised_layers(model: onnx.ModelProto) -> int:
    """How many Conv, Gemm and MatMul read a dequantised activation and a dequantised weight."""
    made_by = producers(model.graph)
    return sum(
        all(n in made_by and made_by[n].op_type == "DequantizeLinear" for n in node.input[:2])
        for node in model.graph.node
        if node.op_type in QUANTISED_LAYERS
    )
