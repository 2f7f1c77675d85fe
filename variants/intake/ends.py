"""A graph's ends as everything here expects them: one image in, one tensor of scores out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trimtab.variants.files.base import Array
from trimtab.variants.files.onnx import KEEPS_VALUES, KINDS
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx_ir as ir

_FED = ("FLOAT", "FLOAT16", "UINT8", "INT8")
_REAL = ("BFLOAT16", "DOUBLE")
_WHOLE = ("INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64")


def image_of(model: ir.Model) -> ir.Value:
    """The one input that is no weight."""
    return next(value for value in model.graph.inputs if not value.is_initializer())


def one_input(path: Path, model: ir.Model) -> list[str]:
    """Leave the image as the only input, and have it fed as float32 or uint8 where it asks for
    a type that images are not fed as: a Cast stands in front then. In place; returns what is to be
    told.

    Raises ModelError where several inputs are read, or the type is none of numbers.
    """
    graph = model.graph
    read = [value for value in graph.inputs if not value.is_initializer()]
    used = [value for value in read if value.uses() or value in graph.outputs] or read[:1]
    if len(used) != 1:
        raise ModelError(
            f"{path.name}: a classifier has one input, the image, but this one reads "
            f"{', '.join(_told(value) for value in used)}; export it again with all but the image "
            "as constants"
        )
    notes = []
    if len(read) > 1:
        dropped = ", ".join(repr(value.name) for value in read if value is not used[0])
        notes.append(f"its inputs {dropped} are read by nothing and left out")
    graph.inputs[:] = [v for v in graph.inputs if v.is_initializer() or v is used[0]]
    return notes + _cast_input(path, model, used[0])


def _cast_input(path: Path, model: ir.Model, asked: ir.Value) -> list[str]:
    import onnx_ir as ir

    kind = asked.dtype.name if asked.dtype is not None else "unknown"
    if kind in _FED:
        return []
    if kind not in (*_REAL, *_WHOLE):
        raise ModelError(
            f"{path.name}: the input {asked.name!r} is of type {kind.lower()}, which is no image; "
            "export it again with a float32 input"
        )
    fed = ir.DataType.FLOAT if kind in _REAL else ir.DataType.UINT8
    name = str(asked.name)
    image = ir.Value(name=name, type=ir.TensorType(fed), shape=asked.shape)
    cast = ir.node("Cast", [image], {"to": int(asked.dtype)})  # type: ignore[arg-type]  # known
    cast.outputs[0].name = f"{name}_as_{kind.lower()}"
    cast.outputs[0].type, cast.outputs[0].shape = asked.type, asked.shape
    model.graph.inputs[:] = [image if v is asked else v for v in model.graph.inputs]
    ir.convenience.replace_all_uses_with(asked, cast.outputs[0])
    asked.name = f"{name}_before"
    model.graph.insert_before(model.graph[0], cast)
    what = "float32" if kind in _REAL else "whole pixels (uint8)"
    return [f"its {kind.lower()} input is fed as {what}, which it casts"]


def _told(value: ir.Value) -> str:
    shape = "of unknown rank" if value.shape is None else str(value.shape).replace(",", " x ")
    return f"{value.name!r} {shape}"


def choose_output(
    path: Path,
    model: ir.Model,
    answers: Mapping[str, Array],
    wish: str | int | None,
    classes: int | None,
) -> list[str]:
    """Leave one output: the one wished for by name or index (from 0), else the one that looks
    like scores. In place; returns what is to be told.

    `answers` are arrays that a trial run gave, by name; outputs that are no tensors have none.
    `classes`, where known, is what the scores should be as many as. Raises ModelError.
    """
    outputs = list(model.graph.outputs)
    names = [str(value.name) for value in outputs]
    notes = []
    if wish is not None:
        chosen = _wished(path, names, wish)
    elif len(outputs) == 1:
        return []
    else:
        chosen = _likeliest(path, outputs, answers, classes)
        others = [_shown(name, answers) for name in names if name != chosen]
        notes.append(
            f"of its outputs {_shown(chosen, answers)} is taken, not {', '.join(others)}; "
            "output.name takes another"
        )
    model.graph.outputs[:] = [outputs[names.index(chosen)]]
    return notes


def _wished(path: Path, names: Sequence[str], wish: str | int) -> str:
    if isinstance(wish, str) and wish in names:
        return wish
    if isinstance(wish, int) and 0 <= wish < len(names):
        return names[wish]
    field = "name" if isinstance(wish, str) else "index"
    raise ModelError(
        f"{path.name}: output.{field}: {wish!r} is none of its outputs "
        f"{', '.join(f'{i}: {name!r}' for i, name in enumerate(names))}"
    )


def _likeliest(
    path: Path, outputs: Sequence[ir.Value], answers: Mapping[str, Array], classes: int | None
) -> str:
    """The first of those that look most like scores."""
    usable = [value for value in outputs if looks_like_scores(answers.get(str(value.name)))]
    if not usable:
        listed = ", ".join(_shown(str(value.name), answers) for value in outputs)
        raise ModelError(
            f"{path.name}: none of its outputs looks like a classifier's scores (1, classes): "
            f"{listed}"
        )

    def rank(value: ir.Value) -> tuple[bool, bool, bool]:
        width = answers[str(value.name)].size
        fits = classes is not None and width in (classes, classes + 1)
        return fits, _makes_scores(value), width > 1

    return str(max(usable, key=rank).name)  # max takes the first of equals


def looks_like_scores(answer: Array | None) -> bool:
    """Whether an array may be a classifier's answer: real, and all its axes but one of size 1."""
    return (
        answer is not None
        and answer.size > 0
        and (np.issubdtype(answer.dtype, np.floating) or answer.dtype in (np.uint8, np.int8))
        and sum(size != 1 for size in answer.shape) <= 1
    )


def _makes_scores(value: ir.Value | None) -> bool:
    """Whether the last operator that changes values is one that ends classifiers."""
    maker = None if value is None else value.producer()
    while maker is not None and maker.op_type in KEEPS_VALUES and maker.inputs[0] is not None:
        maker = maker.inputs[0].producer()
    return maker is not None and maker.op_type in KINDS


def _shown(name: str, answers: Mapping[str, Array]) -> str:
    answer = answers.get(name)
    if answer is None:
        return f"{name!r} (no tensor)"
    return f"{name!r} ({' x '.join(map(str, answer.shape))} {answer.dtype})"


def real_output(model: ir.Model) -> None:
    """An output in bfloat16, which NumPy does not know, is given as float32. In place."""
    import onnx_ir as ir

    value = model.graph.outputs[0]
    if value.dtype != ir.DataType.BFLOAT16:
        return
    cast = ir.node("Cast", [value], {"to": int(ir.DataType.FLOAT)})
    cast.outputs[0].name = f"{value.name}_as_float"
    cast.outputs[0].dtype, cast.outputs[0].shape = ir.DataType.FLOAT, value.shape
    model.graph.append(cast)
    model.graph.outputs[:] = [cast.outputs[0]]
