"""What a model file tells about itself, checked against what a classifier must be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trimtab.variants.files.base import Array, LoadedModel, Normalisation, TensorFacts
from trimtab.variants.files.onnx import load_onnx
from trimtab.variants.files.tflite import load_tflite
from trimtab.variants.inspection.resizing import inner_size
from trimtab.variants.intake.shapes import unnamed_axis
from trimtab.variants.intake.source import check_file, source_sha256
from trimtab_runtime.definitions.plan import DTYPES, Quantisation
from trimtab_runtime.engines import engine_version, format_engine
from trimtab_runtime.errors import EngineError, ModelError

_LOADERS = {".onnx": load_onnx, ".tflite": load_tflite}
#: Raised whenever other facts are drawn from the same file, so that nobody uses those kept before.
INSPECTION_VERSION = 4
_PROBES = 3  # random images on which an unnamed output is looked at


@dataclass(frozen=True)
class ModelFacts:
    """What a file tells.

    `input_size` is (height, width) in pixels, None where the file leaves it open; then
    `output_width` and `output_kind` may be None too, until a size is known. `output_width` counts
    the background class where there is one. `operators` counts operators by type.
    `tried_size` is what it was run with, None where it was not. `open_axes` names the axes that it
    leaves open. `normalised_inside` is the (mean, std) that the graph itself takes off what it is
    fed and divides it by, one value or one a channel. `inner_size` is the (height, width) to which
    the graph itself brings images of any size. `quantised_layers` are those of an ONNX file with
    integer weights. `doubts` are sentences: why its answers are
    not to be trusted. An `output_width` of 1 is the score of the second of two classes.
    """

    format: str
    size_bytes: int
    sha256: str
    input_size: tuple[int, int] | None
    layout: str
    dtype: str
    channels: int
    input_quantisation: Quantisation | None
    output_width: int | None
    output_quantisation: Quantisation | None
    output_kind: str | None
    dynamic_batch: bool
    operators: tuple[tuple[str, int], ...]
    tried_size: tuple[int, int] | None = None
    open_axes: str = ""
    normalised_inside: Normalisation | None = None
    doubts: tuple[str, ...] = ()
    inner_size: tuple[int, int] | None = None
    quantised_layers: int = 0


def inspection_engine(path: Path) -> str | None:
    """Name and version of the engine that :func:`inspect_model` runs a file with; None where it
    refuses to read such a file, or the engine is missing."""
    if path.suffix.lower() not in _LOADERS:
        return None
    engine = format_engine(path.suffix.lower()[1:])
    try:
        return f"{engine} {engine_version(engine)}"
    except EngineError:
        return None


def inspect_model(path: Path | str, size: tuple[int, int] | None = None) -> ModelFacts:
    """Read, load and try a model file.

    It is run on random images, so a file that loads but cannot run is found here. `size` (height,
    width) is what to run a file with that leaves its input size open; without it such a file is
    not run.

    Raises ModelError when the file is missing, empty, damaged or of another kind, when its engine
    cannot load or run it, when it answers one image twice in different ways, and when it is no
    image classifier with one input (1, C, H, W) or (1, H, W, C), C being 1 or 3, and one output
    (1, classes), or a single score; EngineError when the engine is missing.
    """
    path = Path(path)
    check_file(path)
    loaded = _LOADERS[path.suffix.lower()](path)
    facts = _static_facts(path, loaded)
    run_size = facts.input_size or size
    return facts if run_size is None else _tried(path, loaded, facts, run_size)


def _static_facts(path: Path, loaded: LoadedModel) -> ModelFacts:
    layout, channels, size = _image_axes(path, loaded)
    shape = loaded.input.shape or ()
    if shape[0] not in (None, 1):
        raise ModelError(
            f"{path.name}: takes batches of {shape[0]} images; images come one by one, so export "
            "it with a batch size of 1 or a dynamic one"
        )
    if loaded.input.dtype not in DTYPES:
        raise ModelError(
            f"{path.name}: the input's type must be one of {', '.join(DTYPES)}, got "
            f"{loaded.input.dtype}; export it again with a float32 input"
        )
    if loaded.output.dtype not in ("float16", "float32", "float64", "uint8", "int8"):
        raise ModelError(f"{path.name}: the output's type {loaded.output.dtype} is no score")
    if loaded.output.dtype in ("uint8", "int8") and loaded.output.quantisation is None:
        raise ModelError(
            f"{path.name}: the output is {loaded.output.dtype} without scale and zero point; "
            "export it again with a float32 output"
        )
    if loaded.format == "tflite" and size is None:
        raise ModelError(
            f"{path.name}: leaves its input size open, which LiteRT members must not; convert it "
            "again with a fixed input shape"
        )
    return ModelFacts(
        format=loaded.format,
        size_bytes=path.stat().st_size,
        sha256=source_sha256(path, []),
        input_size=size,
        layout=layout,
        dtype=loaded.input.dtype,
        channels=channels,
        input_quantisation=loaded.input.quantisation,
        output_width=_width(path, loaded.output.shape),
        output_quantisation=loaded.output.quantisation,
        output_kind=loaded.kind,
        dynamic_batch=shape[0] is None,
        operators=loaded.operators,
        open_axes=_open_axes(loaded.input, layout),
        normalised_inside=loaded.normalisation(channels),
        doubts=loaded.doubts,
        inner_size=inner_size(path, layout, channels) if size is None else None,
        quantised_layers=loaded.quantised_layers,
    )


def _image_axes(path: Path, loaded: LoadedModel) -> tuple[str, int, tuple[int, int] | None]:
    """Layout, channels and (height, width). Where 1 or 3 stand on both sides, ONNX files are taken
    as NCHW and TFLite files as NHWC."""
    shape = loaded.input.shape
    if shape is None or len(shape) != 4:
        raise ModelError(
            f"{path.name}: an image input has four dimensions (1, 3, H, W) or (1, H, W, 3), but "
            f"this one is {_text(shape)}"
        )
    axes = {"nchw": 1, "nhwc": 3}
    order = ("nchw", "nhwc") if loaded.format == "onnx" else ("nhwc", "nchw")
    for layout in order:
        channels = shape[axes[layout]]
        if channels in (1, 3):
            height, width = shape[2:] if layout == "nchw" else shape[1:3]
            known = None if height is None or width is None else (height, width)
            return layout, channels, known
    if None in (shape[1], shape[3]):
        raise ModelError(
            f"{path.name}: the input is {_text(shape)}; neither the file nor a trial run tells "
            "which axis holds the channels, and how many; give input.size, input.layout (nchw or "
            "nhwc) and input.colour (gray: 1 channel, rgb: 3)"
        )
    raise ModelError(f"{path.name}: an image has 1 or 3 channels, but the input is {_text(shape)}")


def _open_axes(tensor: TensorFacts, layout: str) -> str:
    """Height and width where they are open, by axis and the file's name for it."""
    found = []
    for axis in (2, 3) if layout == "nchw" else (1, 2):
        if tensor.shape is not None and tensor.shape[axis] is None:
            name = tensor.names[axis] if tensor.names else ""
            own = name and name != unnamed_axis(axis)
            found.append(f"axis {axis}" + (f" ({name!r})" if own else ""))
    return " and ".join(found)


def _text(shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return "of unknown rank"
    return "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"


def _width(path: Path, shape: tuple[int | None, ...] | None) -> int | None:
    """Scores of an output (1, classes), (classes,) or with further axes of size 1; None where the
    file leaves it open."""
    if shape is None:
        return None
    known = [size for size in shape[1:] if size != 1] if len(shape) > 1 else list(shape)
    if len(known) > 1 or (len(shape) > 1 and shape[0] not in (None, 1)):
        raise ModelError(
            f"{path.name}: a classifier's output is (1, classes), but this one is {_text(shape)}"
        )
    return known[0] if known else 1


def _tried(
    path: Path, loaded: LoadedModel, facts: ModelFacts, size: tuple[int, int]
) -> ModelFacts:
    """The facts, completed by running the model on random images of `size`."""
    rng = np.random.default_rng(0)
    shape = (facts.channels, *size) if facts.layout == "nchw" else (*size, facts.channels)
    images = [_random_tensor(rng, shape, facts.dtype) for _ in range(_PROBES)]
    answers = [loaded.run(image) for image in images]
    width = _width(path, answers[0].shape)
    rows = [raw.reshape(-1).astype(np.float64) for raw in answers]
    if not np.isfinite(rows).all():
        raise ModelError(f"{path.name}: answers a random image with NaN or infinity")
    _check_repeats(path, loaded, images[0], answers[0])
    if facts.output_width not in (None, len(rows[0])):
        raise ModelError(
            f"{path.name}: the file says {facts.output_width} outputs, but {len(rows[0])} came"
        )
    doubts, alike = facts.doubts, np.ptp(rows, axis=0).max() == 0
    if alike or (facts.output_kind is None and width == 1):
        others = list(_extremes(loaded, shape, facts.dtype))
        rows += [raw.reshape(-1).astype(np.float64) for raw in others]
        if alike and len(others) == 3 and np.ptp(rows, axis=0).max() == 0:
            doubts += ("it answers all images that were tried alike, black and white among them",)
    kind = facts.output_kind or _measured_kind(np.stack(rows), facts.output_quantisation)
    return dataclasses.replace(
        facts, output_width=width, output_kind=kind, tried_size=size, doubts=doubts
    )


def _check_repeats(path: Path, loaded: LoadedModel, image: Array, answer: Array) -> None:
    again = loaded.run(image)
    if again.tobytes() != answer.tobytes():
        apart = np.abs(again.astype(np.float64) - answer.astype(np.float64)).max()
        because = "; ".join(loaded.doubts) or (
            f"its {', '.join(loaded.random)} draws random numbers; export it again without"
            if loaded.random
            else "nothing in it that is known to draw random numbers"
        )
        raise ModelError(
            f"{path.name}: answers one image twice in different ways (up to {apart:.2g} apart): "
            f"{because}"
        )


def _extremes(loaded: LoadedModel, shape: tuple[int, ...], dtype: str) -> Iterator[Array]:
    """Answers to images that have nothing in common: black, white, coarse blocks. Less one that
    the model cannot answer."""
    rng = np.random.default_rng(1)
    blocks = rng.integers(0, 2, tuple(-(-side // 8) for side in shape)) * 255
    coarse = np.kron(blocks, np.ones((8,) * len(shape)))[tuple(map(slice, shape))]
    for pixels in (np.zeros(shape), np.full(shape, 255.0), coarse):
        with suppress(ModelError):
            yield loaded.run(_tensor_of(pixels[None], dtype))


def _random_tensor(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    return _tensor_of(rng.integers(0, 256, (1, *shape)), dtype)


def _tensor_of(pixels: Array, dtype: str) -> Array:
    """Pixels (0..255) as an input without normalisation of its own may get them."""
    if dtype.startswith("float"):
        return ((pixels - 127.5) / 127.5).astype(dtype)
    return (pixels - 128 if dtype == "int8" else pixels).astype(dtype)


def _measured_kind(rows: Array, quantisation: Quantisation | None) -> str:
    """'probabilities' when all rows (n, classes) lie in [0, 1] and sum to about 1; a single score
    has nothing to be summed with."""
    step = 0.0
    if quantisation is not None:
        rows, step = (rows - quantisation.zero_point) * quantisation.scale, quantisation.scale
    inside = rows.min() >= -1e-6 and rows.max() <= 1 + 1e-6
    if rows.shape[1] == 1:
        return "probabilities" if inside else "logits"
    # A quantised row's sum is off by at most half a step per class.
    close = np.abs(rows.sum(axis=1) - 1).max() <= 0.01 + 0.5 * step * rows.shape[1]
    return "probabilities" if inside and close else "logits"
