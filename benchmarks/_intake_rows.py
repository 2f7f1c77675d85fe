"""What becomes of one file, for intake_matrix: taken, answers, and what can be made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from benchmarks._exports import Array, Cell
from trimtab.variants import (
    ModelFacts,
    Wishes,
    inspect_model,
    make_variant,
    open_view,
    operator_work,
    quantisable,
    quantise_w8a8,
    usable_taps,
)
from trimtab.variants.files.base import first_line
from trimtab.variants.quantisation.suitability import INTEGER_OPERATORS, QUANTISED_LAYERS
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines import create_engine, format_engine
from trimtab_runtime.errors import TrimtabError

_UNFORESEEN = "unforeseen:"
COLUMNS = ("taken", "answers", "w8a8", "taps", "layers")


@dataclass
class Row:
    """What became of a file: True (of taps how many), or the reason why not. `runs` says whether
    its engine runs the file as it is, `notes` are what is told of it, `untrue` reasons that were
    found false."""

    framework: str
    network: str
    variation: str
    runs: bool
    taken: bool | str = False
    answers: bool | str = ""
    w8a8: bool | str = ""
    taps: int | str = ""
    layers: bool | str = ""
    notes: tuple[str, ...] = ()
    untrue: list[str] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def label(self) -> str:
        return f"{self.framework} {self.network}"

    def reasons(self) -> Iterator[tuple[str, str]]:
        """(column, reason), the file's name left out of them."""
        for column in COLUMNS:
            told = getattr(self, column)
            if isinstance(told, str) and told:
                yield column, told


def row_of(cell: Cell, folder: Path) -> Row:
    """Open a file as a job does, run it, and make of it what jobs make."""
    answers = _engine_answers(cell.path, cell.tensors)
    row = Row(cell.framework, cell.network, cell.variation, not isinstance(answers, str))
    if isinstance(answers, str):
        row.answers = f"the engine itself does not run it: {answers}"
    try:
        size = (cell.tensors.shape[2], cell.tensors.shape[3])
        if cell.tensors.shape[3] == 3:
            size = (cell.tensors.shape[1], cell.tensors.shape[2])
        view = open_view(cell.path, folder / "view", Wishes(size=size))
        facts = inspect_model(view.path, size)
        said = {"size": size}
        if facts.dtype not in ("uint8", "int8"):
            said |= {"mean": 0, "std": 1}
        variant = make_variant(view.path, facts, said, {}, cell.path.stem)
        row.taken, row.notes = True, (*view.notes, *facts.doubts)
    except TrimtabError as error:
        row.taken = str(error)
        row.untrue += [row.taken] if row.runs else []
        return row
    row.answers = _compared(cell, answers, view.path, variant)
    _make(row, view.path, facts, variant, folder)
    return row


def _engine_answers(path: Path, tensors: Array) -> Array | str:
    """What the engine itself answers; its reason where it does not run the file."""
    if path.suffix == ".tflite":
        return _litert_answers(path, tensors)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(path), options)
        name = session.get_inputs()[0].name
        found = [session.run(None, {name: tensor[None]})[0] for tensor in tensors]
    except Exception as error:  # onnxruntime's errors share no public base class
        return first_line(error)
    return np.stack([answer.reshape(-1) for answer in found])


def _litert_answers(path: Path, tensors: Array) -> Array:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (wanted,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for tensor in tensors:
        interpreter.set_tensor(wanted["index"], tensor[None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(made["index"]).reshape(-1))
    return np.stack(answers)


def _compared(cell: Cell, own: Array | str, path: Path, variant: Variant) -> bool | str:
    """Against the engine on the file as it is, and the framework where it has answered."""
    engine = create_engine(str(path), variant, RuntimeOptions(format_engine(variant.format)))
    dtype = np.dtype(variant.input.dtype)
    found = np.stack([engine.run(tensor[None].astype(dtype)) for tensor in cell.tensors])
    pairs = [("the framework", cell.answers, cell.tolerance)]
    if not isinstance(own, str):
        pairs.append(("the file on its engine", own, min(cell.tolerance, 2.0**-9)))
    for name, wanted, tolerance in pairs:
        if wanted is None:
            continue
        wanted = wanted.reshape(found.shape).astype(np.float64)
        held = variant.output.quantisation
        if held is not None:
            wanted = (wanted - held.zero_point) * held.scale
        apart = float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-12))
        if not apart <= tolerance:
            return (
                f"differs from {name} by {apart:.2g} of the largest score ({tolerance:.2g} may be)"
            )
        other = _other_classes(found, wanted, tolerance)
        if other:
            return f"names other classes than {name} for {other} of {len(found)} images"
    return True


def _other_classes(found: Array, wanted: Array, tolerance: float) -> int:
    """Images whose best class is another, although it leads by more than the tolerance."""
    ordered = np.sort(wanted, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 2 * tolerance * np.abs(wanted).max()
    return int((clear & (found.argmax(axis=1) != wanted.argmax(axis=1))).sum())


def _make(row: Row, path: Path, facts: ModelFacts, variant: Variant, folder: Path) -> None:
    """Quantise, look for taps, count the work."""
    size = variant.input.size
    suitable = quantisable(facts)
    generator = np.random.default_rng(0)
    pixels = [generator.integers(0, 256, (*size, 3)).astype(np.uint8) for _ in range(4)]
    row.w8a8 = suitable.reason or _tried(
        lambda: bool(quantise_w8a8(path, variant, pixels, folder / "w8a8.onnx"))
    )
    row.taps = _tried(lambda: _taps(path, size))
    row.layers = _tried(lambda: _work(path, variant.format, size))
    row.untrue += [reason for _, reason in row.reasons() if not is_true(reason, path)]


def _tried(make: Any) -> Any:
    try:
        return make()
    except TrimtabError as error:
        return str(error)
    except Exception as error:  # what nobody foresaw is no reason, and counts as an untrue one
        return f"{_UNFORESEEN} {type(error).__name__}: {str(error)[:200]}"


def _taps(path: Path, size: tuple[int, int]) -> int | str:
    places, reason = usable_taps(path, 5, size)
    return len(places) if places else str(reason)


def _work(path: Path, format: str, size: tuple[int, int]) -> bool | str:
    total = sum(work.multiply_accumulates for work in operator_work(path, format, size))
    return True if total else "no multiply-accumulates are known"


def is_true(reason: str, path: Path) -> bool:
    """Whether a reason holds for the graph, as far as a program can tell."""
    if path.suffix == ".tflite":
        return "tflite" in reason.lower()
    kinds = {node.op_type for node in onnx.load(str(path), load_external_data=False).graph.node}
    if "quantised already" in reason:
        return not kinds.isdisjoint(INTEGER_OPERATORS)
    if reason.startswith("it has no convolution"):
        return kinds.isdisjoint(("Conv", "ConvTranspose", "QLinearConv"))
    if reason.startswith("it has no"):
        return kinds.isdisjoint(QUANTISED_LAYERS)
    return not any(text in reason for text in ("not known", "cannot quantise it", _UNFORESEEN))
