"""Files of a network as exporters and tools leave them, for intake_matrix, a cell each."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime import quantization
from onnxruntime.transformers import float16

from benchmarks._networks import Network

Array = np.ndarray[Any, np.dtype[Any]]

IMAGES = 10
#: Opsets of torch's older exporter, and of today's default.
OLD, NEW = (11, 13, 17, 20), (18, 20, 22, 24)
#: What a file may differ by from the framework, of the largest answer.
FLOAT_TOLERANCE = 1e-3
#: As much in float16: this times what float16 changes in torch itself, and at least some steps.
HALF_TIMES, HALF_LEAST = 4.0, 2.0**-8


@dataclass(frozen=True)
class Cell:
    """A file and what it should answer: `tensors` (n, ...) as they are fed, `answers` (n, classes)
    of the framework (None: the engine's on the file itself are the measure), `tolerance` of the
    largest of them."""

    framework: str
    network: str
    variation: str
    path: Path
    tensors: Array
    answers: Array | None
    tolerance: float = FLOAT_TOLERANCE


def cells(network: Network, folder: Path, quick: bool) -> Iterator[Cell | str]:
    """Every variation of a network; a line for one that its exporter or tool does not write."""
    torch.manual_seed(0)
    images = torch.randn(IMAGES, 3, network.side, network.side)
    if network.make is None:
        assert network.export is not None
        with _quiet():
            path, answers = network.export(folder, images)
        tensors = images.permute(0, 2, 3, 1) if network.channels_last else images
        cell = Cell(
            network.framework,
            network.name,
            "its own exporter",
            path,
            tensors.numpy(),
            answers.numpy(),
        )
        yield cell
        yield from _by_onnxruntime(cell, folder, quick)
        return
    exports = _Exports(network, images, folder)
    yield from exports.older(quick)
    yield from exports.newer(quick)
    yield from exports.half()
    base = exports.made.get("old 17 fixed") or exports.made.get("new 18 beside")
    if base is not None:
        yield from _by_onnxruntime(base, folder, quick)


class _Exports:
    """What torch's two exporters make of one network."""

    def __init__(self, network: Network, images: torch.Tensor, folder: Path) -> None:
        assert network.make is not None
        self._network, self._images, self._folder = network, images, folder
        with _quiet():
            model = network.make().train()
        with torch.no_grad():
            for _ in range(20):  # or what random weights give vanishes in float16
                model(torch.randn(16, 3, network.side, network.side))
        self._model = model.eval()
        self._answers = self._of(self._model, images).numpy()
        self.made: dict[str, Cell] = {}

    def older(self, quick: bool) -> Iterator[Cell | str]:
        axes = {"images": dict(enumerate(("batch", "channels", "height", "width")))}
        for opset in (17,) if quick else OLD:
            yield self._written(f"old {opset} fixed", self._trace(opset))
        batch = {"images": {0: "batch"}, "logits": {0: "batch"}}
        yield self._written("old 17 any batch", self._trace(17, dynamic_axes=batch))
        yield self._written("old 17 open", self._trace(17, dynamic_axes=axes))

    def newer(self, quick: bool) -> Iterator[Cell | str]:
        """Captured once, then written at every opset."""
        try:
            captured = self._capture(None)
        except Exception as error:  # an exporter may raise anything of torch's
            yield self._text("new", error)
            return
        for opset in (18,) if quick else NEW:
            program = self._program(captured, opset)
            yield self._written(f"new {opset} beside", _saving(program, external_data=True))
            if opset == 18:
                yield self._written("new 18 one file", _saving(program, external_data=False))
        shapes = ({0: "batch", 2: "height", 3: "width"},)
        yield self._written("new 18 open", lambda path: self._open(shapes, path))

    def half(self) -> Iterator[Cell | str]:
        with torch.no_grad():
            network = copy.deepcopy(self._model).half()
            half = self._of(network, self._images.half()).float().numpy()
        apart = np.abs(half - self._answers).max() / np.abs(self._answers).max()
        tolerance = max(HALF_TIMES * float(apart), HALF_LEAST)
        images = self._images.half()
        yield self._written(
            "old 17 float16",
            lambda path: _export(network, images[:1], path, dynamo=False, opset_version=17),
            images.numpy(),
            tolerance,
        )
        yield self._written(
            "new 18 float16",
            lambda path: _export(network, images[:1], path, dynamo=True, external_data=False),
            images.numpy(),
            tolerance,
        )
        base = self.made.get("old 17 fixed")
        if base is not None:
            yield self._written(
                "float16, float32 ends", lambda path: _halve(base.path, path), None, tolerance
            )

    def _of(self, model: Any, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([model(image[None]) for image in images])

    def _trace(self, opset: int, **options: Any) -> Callable[[Path], None]:
        image = self._images[:1]
        return lambda path: _export(
            self._model, image, path, dynamo=False, opset_version=opset, **options
        )

    def _capture(self, shapes: Any) -> Any:
        with _quiet():
            return torch.export.export(
                self._model,
                (self._images[:2],) if shapes else (self._images[:1],),
                dynamic_shapes=shapes,
                strict=False,
            )

    def _program(self, captured: Any, opset: int) -> Any:
        with _quiet():
            return torch.onnx.export(
                captured,
                (self._images[:1],),
                dynamo=True,
                opset_version=opset,
                input_names=["images"],
                output_names=["logits"],
                verbose=False,
            )

    def _open(self, names: Any, path: Path) -> None:
        shapes = tuple({axis: torch.export.Dim.AUTO for axis in axes} for axes in names)
        self._program(self._capture(shapes), 18).save(str(path), external_data=False)

    def _written(
        self,
        variation: str,
        write: Callable[[Path], None],
        tensors: Array | None = None,
        tolerance: float = FLOAT_TOLERANCE,
    ) -> Cell | str:
        network = self._network
        path = self._folder / f"{network.name}-{variation.replace(' ', '-')}.onnx"
        try:
            with _quiet():
                write(path)
        except Exception as error:  # as above
            return self._text(variation, error)
        fed = self._images.numpy() if tensors is None else tensors
        cell = Cell(
            network.framework, network.name, variation, path, fed, self._answers, tolerance
        )
        self.made[variation] = cell
        return cell

    def _text(self, variation: str, error: Exception) -> str:
        lines = str(error).strip().splitlines() or [""]
        return (
            f"{self._network.framework} {self._network.name} | {variation}: not exported "
            f"({type(error).__name__}: {lines[0][:90]})"
        )


def _saving(program: Any, external_data: bool) -> Callable[[Path], None]:
    return lambda path: program.save(str(path), external_data=external_data)


def _export(network: Any, image: torch.Tensor, path: Path, **options: Any) -> None:
    names = {"input_names": ["images"], "output_names": ["logits"]}
    torch.onnx.export(network, (image,), str(path), **names, **options)


def _halve(source: Path, path: Path) -> None:
    """As many convert: float16 inside, the image and the scores in float32."""
    model = onnx.load(str(source))
    onnx.save(float16.convert_float_to_float16(model, keep_io_types=True), str(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """What exporters say of themselves is not heard."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        yield


class _Feed:
    """The images again, for calibration (the interface of CalibrationDataReader)."""

    def __init__(self, name: str, tensors: Array) -> None:
        self._rest = iter([{name: tensor[None]} for tensor in tensors])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._rest, None)


def _by_onnxruntime(cell: Cell, folder: Path, quick: bool) -> Iterator[Cell | str]:
    """Files that onnxruntime makes of one; they should answer as they do in onnxruntime."""
    stem = folder / cell.path.stem
    made: dict[str, Callable[[Path], None]] = {
        "basic": lambda out: _optimised(cell.path, out, "ORT_ENABLE_BASIC"),
        "extended": lambda out: _optimised(cell.path, out, "ORT_ENABLE_EXTENDED"),
        "all": lambda out: _optimised(cell.path, out, "ORT_ENABLE_ALL"),
        "QDQ": lambda out: _quantised(cell, out, quantization.QuantFormat.QDQ),
        "QOperator": lambda out: _quantised(cell, out, quantization.QuantFormat.QOperator),
        "dynamic int8": lambda out: quantization.quantize_dynamic(
            str(cell.path), str(out), weight_type=quantization.QuantType.QUInt8
        ),
    }
    for name in list(made)[:4] if quick else made:
        out = stem.with_name(f"{stem.name}-{name.replace(' ', '-')}.onnx")
        try:
            with _quiet():
                made[name](out)
        except Exception as error:  # its errors share no public base class
            text = str(error).strip().splitlines()[0][:90]
            yield (
                f"{cell.framework} {cell.network} | onnxruntime {name}: not made "
                f"({type(error).__name__}: {text})"
            )
            continue
        yield Cell(
            cell.framework, cell.network, f"onnxruntime {name}", out, cell.tensors, None, 1e-6
        )


def _optimised(source: Path, out: Path, level: str) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(out)
    onnxruntime.InferenceSession(str(source), options)


def _quantised(cell: Cell, out: Path, kind: Any) -> None:
    name = onnxruntime.InferenceSession(str(cell.path)).get_inputs()[0].name
    quantization.quantize_static(str(cell.path), str(out), _Feed(name, cell.tensors), kind)


def of_tflite(path: Path) -> Cell:
    """A TFLite file at hand, whose engine's answers are the measure."""
    from trimtab.variants.files.tflite import load_tflite

    wanted = load_tflite(path).input
    shape = [side or 1 for side in wanted.shape or ()][1:]
    tensors = np.random.default_rng(0).integers(0, 256, (IMAGES, *shape)).astype(wanted.dtype)
    return Cell("tflite", path.stem, "as it is", path, tensors, None, 1e-6)
