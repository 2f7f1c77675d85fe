"""A graph's ends as everything here expects them: one image in, one tensor of scores out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trimtab.variants.files.base import Array
from trimtab.variants.files.onnx import KEEPS_VALUES, KINDS
from trimtab.variants.intake.shapes import unnamed_axis
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx_ir as ir

_AXES = 4  # of an image
_AXES_AS_INPUT = 13  # from this opset on, Squeeze reads its axes
_FED = ("FLOAT", "FLOAT16", "UINT8", "INT8")
_REAL = ("BFLOAT16", "DOUBLE")
_CHOICES = ("ArgMax", "TopK")
_WHOLE = ("INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64")


def image_of(model: ir.Model) -> ir.Value:
    """The one input that is no weight."""
    return next(value for value in model.graph.inputs if not value.is_initializer())


def one_input(path: Path, model: ir.Model) -> list[str]:
    """Leave the image as the only input, with an axis for the batch, and have it fed as float32
    or uint8 where it asks for a type that images are not fed as: a Cast stands in front then. In
    place; returns what is to be told.

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
    image, notes = used[0], list[str]()
    if len(read) > 1:
        dropped = ", ".join(repr(value.name) for value in read if value is not image)
        notes.append(f"its inputs {dropped} are read by nothing and left out")
    graph.inputs[:] = [v for v in graph.inputs if v.is_initializer() or v is image]
    notes += _open_sides(image)
    notes += _give_batch(model, image)
    return notes + _cast_input(path, model, image_of(model))


def _open_sides(image: ir.Value) -> list[str]:
    """Sides of 0 or less, which converters write where they know none, become open ones."""
    import onnx_ir as ir

    sides = list(image.shape or ())
    none = [axis for axis, side in enumerate(sides) if isinstance(side, int) and side < 1]
    if none:
        image.shape = ir.Shape(
            [unnamed_axis(axis) if axis in none else side for axis, side in enumerate(sides)]
        )
    return [
        f"axis {axis} of its input is of size {sides[axis]} and taken as open" for axis in none
    ]


def _give_batch(model: ir.Model, asked: ir.Value) -> list[str]:
    """An input of three axes gets one more in front, which a Squeeze takes off."""
    import onnx_ir as ir

    if asked.shape is None or len(asked.shape) != _AXES - 1:
        return []
    name = str(asked.name)
    image = ir.Value(name=name, type=asked.type, shape=ir.Shape([1, *list(asked.shape)]))
    if model.opset_imports.get("", 0) < _AXES_AS_INPUT:
        squeeze = ir.node("Squeeze", [image], {"axes": [0]})
    else:
        axes = ir.Value(name=f"{name}_axes", const_value=ir.tensor(np.zeros(1, np.int64)))
        model.graph.register_initializer(axes)
        squeeze = ir.node("Squeeze", [image, axes])
    _put_in_front(model, asked, image, squeeze, f"{name}_alone")
    return ["its input has no axis for a batch; it gets one"]


def _put_in_front(
    model: ir.Model, asked: ir.Value, image: ir.Value, node: ir.Node, name: str
) -> None:
    """`image` is the input, and what `node` makes of it, called `name`, is read for `asked`."""
    import onnx_ir as ir

    made = node.outputs[0]
    made.name, made.type, made.shape = name, asked.type, asked.shape
    model.graph.inputs[:] = [image if value is asked else value for value in model.graph.inputs]
    ir.convenience.replace_all_uses_with(asked, made)
    asked.name = f"{image.name}_before"
    model.graph.insert_before(model.graph[0], node)


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
    _put_in_front(model, asked, image, cast, f"{name}_as_{kind.lower()}")
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
    import onnx_ir as ir

    outputs = list(model.graph.outputs)
    names = [str(value.name) for value in outputs]
    notes = []
    if wish is not None:
        chosen = _wished(path, names, wish)
    elif len(outputs) == 1:
        if isinstance(outputs[0].type, ir.SequenceType | ir.OptionalType):
            raise ModelError(
                f"{path.name}: its output {names[0]!r} is no tensor; export it again with the "
                "classes' scores as a tensor"
            )
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
    usable = [
        value
        for value in outputs
        if looks_like_scores(answers.get(str(value.name))) and _choice(value) is None
    ]
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
    maker = _maker(value)
    return maker is not None and maker.op_type in KINDS


def _maker(value: ir.Value | None) -> ir.Node | None:
    """The last operator that changes values."""
    maker = None if value is None else value.producer()
    while maker is not None and maker.op_type in KEEPS_VALUES and maker.inputs[0] is not None:
        maker = maker.inputs[0].producer()
    return maker


def _choice(value: ir.Value) -> ir.Node | None:
    """The operator that chose among scores what an output gives; None where it gives scores."""
    maker = _maker(value)
    return maker if maker is not None and maker.op_type in _CHOICES else None


def scores_of_choices(model: ir.Model) -> list[str]:
    """Where all outputs are chosen among scores (the best class' number, the best scores in their
    order), these scores are the output instead. In place; returns what is to be told."""
    from onnx_ir.passes import common

    outputs = list(model.graph.outputs)
    chosen = [_choice(value) for value in outputs]
    first = chosen[0] if chosen and None not in chosen else None
    scores = None if first is None else first.inputs[0]
    if first is None or scores is None or scores.is_graph_input():
        return []
    if scores.dtype is None:
        common.ShapeInferencePass(check_type=False, strict_mode=False)(model)
    model.graph.outputs[:] = [scores]
    names = ", ".join(repr(value.name) for value in outputs)
    return [f"it gives what {first.op_type} chooses ({names}); the scores in front are taken"]


def _shown(name: str, answers: Mapping[str, Array]) -> str:
    answer = answers.get(name)
    if answer is None:
        return f"{name!r} (no tensor)"
    return f"{name!r} ({' x '.join(map(str, answer.shape))} {answer.dtype})"


def real_outputs(model: ir.Model) -> list[str]:
    """Outputs in bfloat16, which NumPy does not know, are given as float32. In place; returns
    what is to be told."""
    import onnx_ir as ir

    outputs, notes = list(model.graph.outputs), []
    for place, value in enumerate(outputs):
        if value.dtype == ir.DataType.BFLOAT16:
            notes.append(f"its bfloat16 output {value.name!r} is given as float32")
            cast = ir.node("Cast", [value], {"to": int(ir.DataType.FLOAT)})
            outputs[place] = cast.outputs[0]
            outputs[place].name, value.name = value.name, f"{value.name}_before"
            outputs[place].dtype, outputs[place].shape = ir.DataType.FLOAT, value.shape
            model.graph.append(cast)
    model.graph.outputs[:] = outputs
    return notes
