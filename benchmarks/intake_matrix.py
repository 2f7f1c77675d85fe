"""Which model files are taken as their exporters leave them, and do they answer right?

Networks with random weights from torch and, out of a folder that `--packages` names, torchvision,
timm and transformers (`pip install --no-deps --target FOLDER timm torchvision transformers ...`;
what cannot be imported is left out and said), by both of torch's exporters at several opsets,
fixed and open, with weights beside and inside, in float16; then as onnxruntime saves them:
optimised, QDQ, QOperator and dynamically quantised; and the TFLite files of the data pack.

A line a file: whether it is `taken`, whether its `answers` on ten images equal the framework's own
(of onnxruntime's own files and TFLite: the engine's on the file itself), whether `w8a8` is built,
`taps` found, the work of its `layers` known, or the reason why not. Reasons are checked where a
program can: a refusal is true where onnxruntime refuses the file too, 'quantised already' where
the graph has integer operators, 'has no Conv, Gemm, MatMul' where it has none once its functions
are inlined. `untrue_reasons` counts those found false; `reasons` lists all, to be read. Prints one
JSON object as its last line.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime
import typer
from onnxruntime import quantization

from benchmarks._exports import Cell, exported, networks
from benchmarks._options import DEFAULT_DATA, DataFolder
from trimtab.variants import (
    Wishes,
    inspect_model,
    make_variant,
    open_view,
    operator_work,
    quantisable,
    quantise_w8a8,
    usable_taps,
)
from trimtab.variants.quantisation.suitability import INTEGER_OPERATORS, QUANTISED_LAYERS
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines import create_engine, format_engine
from trimtab_runtime.errors import TrimtabError


@dataclass
class Row:
    """What became of a cell: True, or the reason why not."""

    cell: Cell
    runs: bool
    taken: bool | str = False
    answers: bool | str = ""
    w8a8: bool | str = ""
    taps: int | str = ""
    layers: bool | str = ""
    untrue: list[str] = field(default_factory=list)

    def text(self) -> str:
        found = [f"{self.cell.framework} {self.cell.network}", self.cell.variation]
        found += [f"{name}: {getattr(self, name)}" for name in ("taken", "answers")]
        found += [f"{name}: {getattr(self, name)}" for name in ("w8a8", "taps", "layers")]
        return " | ".join(found)

    def reasons(self) -> list[str]:
        told = (self.taken, self.answers, self.w8a8, self.taps, self.layers)
        return [text for text in told if isinstance(text, str) and text]


def main(
    packages: Annotated[Path | None, typer.Option(help="folder with more frameworks")] = None,
    data: DataFolder = DEFAULT_DATA,
    only: Annotated[str, typer.Option(help="frameworks whose name holds this")] = "",
    quick: Annotated[bool, typer.Option(help="one opset an exporter")] = False,
) -> None:
    """Export, open, run, print."""
    logging.disable(logging.WARNING)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for cell in _cells(packages, data, only, quick, Path(name)):
            if isinstance(cell, str):
                print(cell, flush=True)
                continue
            with tempfile.TemporaryDirectory(dir=name) as folder:
                rows.append(_row(cell, Path(folder)))
            print(rows[-1].text(), flush=True)
    running = [row for row in rows if row.runs]
    taken = [row for row in rows if row.taken is True]
    figures = {
        "files": len(rows),
        "run_by_engine": len(running),
        "taken": sum(row.taken is True for row in running) / max(1, len(running)),
        "answers_equal": sum(row.answers is True for row in taken) / max(1, len(taken)),
        "w8a8": sum(row.w8a8 is True for row in taken),
        "layers": sum(row.layers is True for row in taken),
        "untrue_reasons": sum(len(row.untrue) for row in rows),
        "reasons": dict(Counter(text for row in rows for text in row.reasons())),
    }
    print(json.dumps(figures))


def _cells(
    packages: Path | None, data: Path, only: str, quick: bool, folder: Path
) -> Iterator[Cell | str]:
    seen = set()
    for framework, name, make, side in networks(packages):
        if only not in framework:
            continue
        for cell in exported(framework, name, make, side, folder, quick):
            yield cell
            if isinstance(cell, Cell) and cell.variation == "old 17 fixed":
                if framework not in seen or not quick:
                    yield from _by_onnxruntime(cell, folder)
                seen.add(framework)
    for path in sorted(data.glob("*/models/*.tflite")) if only in "tflite" else []:
        yield _of_tflite(path)


class _Feed:
    """The images again, for calibration (the interface of CalibrationDataReader)."""

    def __init__(self, tensors: Any) -> None:
        self._rest = iter([{"images": tensor[None]} for tensor in tensors])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._rest, None)


def _by_onnxruntime(cell: Cell, folder: Path) -> Iterator[Cell | str]:
    """Files that onnxruntime makes of one; they should answer as they do in onnxruntime."""
    levels = onnxruntime.GraphOptimizationLevel
    for name, level in (
        ("basic", levels.ORT_ENABLE_BASIC),
        ("extended", levels.ORT_ENABLE_EXTENDED),
        ("all", levels.ORT_ENABLE_ALL),
    ):
        out = folder / f"{cell.path.stem}-{name}.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(out)
        onnxruntime.InferenceSession(str(cell.path), options)
        yield _own(cell, f"onnxruntime {name}", out)
    for name, kind in (
        ("QDQ", quantization.QuantFormat.QDQ),
        ("QOperator", quantization.QuantFormat.QOperator),
    ):
        out = folder / f"{cell.path.stem}-{name}.onnx"
        try:
            quantization.quantize_static(str(cell.path), str(out), _Feed(cell.tensors), kind)
        except Exception as error:  # its errors share no public base class
            yield f"{cell.framework} {cell.network} {name}: not made ({type(error).__name__})"
            continue
        yield _own(cell, f"onnxruntime {name}", out)
    out = folder / f"{cell.path.stem}-dynamic.onnx"
    kind = quantization.QuantType.QUInt8
    quantization.quantize_dynamic(str(cell.path), str(out), weight_type=kind)
    yield _own(cell, "onnxruntime dynamic", out)


def _own(cell: Cell, variation: str, path: Path) -> Cell:
    try:
        answers = _engine_answers(path, cell.tensors)
    except RuntimeError:  # onnxruntime's errors are; the row then says that it does not run
        answers = cell.answers
    return replace(cell, variation=variation, path=path, answers=answers, tolerance=0.0)


def _engine_answers(path: Path, tensors: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: t[None]})[0] for t in tensors])


def _of_tflite(path: Path) -> Cell:
    from trimtab.variants.files.tflite import load_tflite

    loaded = load_tflite(path)
    shape = [side or 1 for side in loaded.input.shape or ()][1:]
    tensors = np.random.default_rng(0).integers(0, 256, (10, *shape)).astype(loaded.input.dtype)
    answers = np.concatenate([loaded.run(tensor[None]).reshape(1, -1) for tensor in tensors])
    return Cell("tflite", path.stem, "as it is", path, tensors, answers, 0.0)


def _row(cell: Cell, folder: Path) -> Row:
    row = Row(cell, _runs(cell))
    try:
        size = (cell.tensors.shape[2], cell.tensors.shape[3])
        if cell.path.suffix == ".tflite":
            size = (cell.tensors.shape[1], cell.tensors.shape[2])
        view = open_view(cell.path, folder / "view", Wishes(size=size))
        facts = inspect_model(view.path, size)
        said = {"size": size, "mean": 0, "std": 1}
        if facts.dtype in ("uint8", "int8"):
            said = {"size": size}
        variant = make_variant(view.path, facts, said, {}, cell.path.stem)
        row.taken = True
    except TrimtabError as error:
        row.taken = str(error)
        row.untrue += [row.taken] if row.runs else []
        return row
    row.answers = _answers(cell, view.path, variant)
    _read(row, view.path, variant, folder)
    return row


def _runs(cell: Cell) -> bool:
    if cell.path.suffix == ".tflite":
        return True
    try:
        _engine_answers(cell.path, cell.tensors[:1])
    except Exception:  # onnxruntime's errors share no public base class
        return False
    return True


def _answers(cell: Cell, path: Path, variant: Variant) -> bool | str:
    engine = create_engine(str(path), variant, RuntimeOptions(format_engine(variant.format)))
    found = np.stack([engine.run(tensor[None]) for tensor in cell.tensors])
    wanted = cell.answers.reshape(found.shape).astype(np.float64)
    held = variant.output.quantisation
    if held is not None:
        wanted = (wanted - held.zero_point) * held.scale
    apart = np.abs(found - wanted).max()
    limit = max(cell.tolerance, 1e-6) * np.abs(wanted).max()
    return True if apart <= limit else f"answers are up to {apart:.2g} apart ({limit:.2g} allowed)"


def _read(row: Row, path: Path, variant: Variant, folder: Path) -> None:
    """Quantise, look for taps, count the work."""
    size = variant.input.size
    suitable = quantisable(inspect_model(path, size))
    generator = np.random.default_rng(0)
    pixels = [generator.integers(0, 256, (*size, 3)).astype(np.uint8) for _ in range(8)]
    try:
        if suitable:
            quantise_w8a8(path, variant, pixels, folder / "w8a8.onnx")
        row.w8a8 = True if suitable else suitable.reason
    except TrimtabError as error:
        row.w8a8 = str(error)
    if not suitable and not _true(suitable.reason, row.cell.path):
        row.untrue.append(suitable.reason)
    try:
        if variant.format == "onnx":
            places, reason = usable_taps(path, 5, size)
            row.taps = len(places) if places else str(reason)
    except TrimtabError as error:
        row.taps = str(error)
    try:
        total = sum(
            work.multiply_accumulates for work in operator_work(path, variant.format, size)
        )
        row.layers = True if total else "no multiply-accumulates are known"
    except TrimtabError as error:
        row.layers = str(error)


def _true(reason: str, path: Path) -> bool:
    """Whether a reason not to quantise holds for the graph, its functions inlined."""
    if path.suffix == ".tflite":
        return "tflite" in reason
    graph = onnx.inliner.inline_local_functions(onnx.load(str(path))).graph
    kinds = {node.op_type for node in graph.node}
    if "quantised already" in reason:
        return not kinds.isdisjoint(INTEGER_OPERATORS)
    if reason.startswith("it has no"):
        return kinds.isdisjoint(QUANTISED_LAYERS)
    return False


if __name__ == "__main__":
    typer.run(main)
