"""The view of a TFLite file: of its signatures one, one image in, one tensor of scores out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.variants.files.base import Array, first_line
from trimtab.variants.files.tflite import load_tflite, open_interpreter
from trimtab.variants.files.tflite_objects import CALLS, packed, unpacked
from trimtab.variants.files.watchdog import step
from trimtab.variants.intake.ends import looks_like_scores
from trimtab_runtime.errors import ModelError


@dataclass(frozen=True)
class _Signature:
    """A way to call the file: its name ('' where the file names none), the number of its graph,
    and names of inputs and outputs with the tensors that they are."""

    name: str
    graph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


def view_tflite(
    path: Path,
    target: Path,
    signature: str | None,
    output: str | int | None,
    classes: int | None,
) -> tuple[Path, list[str]]:
    """The file itself where it has one graph with one input and one output, else a file at
    `target` that has; and what is to be told.

    `signature` and `output` (a name, or an index from 0) were said; without, the signature with
    one image and scores is taken, and the output that is as wide as there are `classes`, or the
    first that looks like scores. Raises ModelError where none does, and where what is said is not
    there.
    """
    open_interpreter(path)  # which says what is wrong with it
    model = unpacked(path)
    try:
        found = _signatures(model)
    except Exception as error:  # a damaged file's signatures may be anything
        raise ModelError(f"{path.name}: damaged ({first_line(error)})") from error
    plain = len(model.subgraphs[0].inputs) == len(model.subgraphs[0].outputs) == 1
    if plain and len(found) == 1 and signature is None and output is None:
        return path, []
    chosen, notes = _chosen(path, found, model, signature)
    answers = _answers(path, model, chosen)
    name, told = _output(path, chosen, answers, output, classes)
    _leave(path, model, chosen, chosen.outputs[name])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(packed(model))
    _compare(path, target, chosen, answers[name])
    return target, notes + told


def _signatures(model: Any) -> list[_Signature]:
    """Those of the file; its first graph where it names none."""
    found = [
        _Signature(
            _text(each.signatureKey),
            each.subgraphIndex,
            {_text(i.name): i.tensorIndex for i in each.inputs or ()},
            {_text(o.name): o.tensorIndex for o in each.outputs or ()},
        )
        for each in model.signatureDefs or ()
    ]
    if found:
        return found
    graph = model.subgraphs[0]
    names = [
        {_text(graph.tensors[index].name): int(index) for index in ends}
        for ends in (graph.inputs, graph.outputs)
    ]
    return [_Signature("", 0, *names)]


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name or "")


def _chosen(
    path: Path, found: Sequence[_Signature], model: Any, wish: str | None
) -> tuple[_Signature, list[str]]:
    names = ", ".join(repr(each.name) for each in found)
    if wish is not None:
        for each in found:
            if each.name == wish:
                return each, []
        raise ModelError(f"{path.name}: signature: {wish!r} is none of its signatures {names}")
    usable = [each for each in found if _takes_an_image(each, model)]
    if not usable:
        listed = "; ".join(_inputs_text(each, model) for each in found)
        raise ModelError(
            f"{path.name}: a classifier has one input, the image, but this one takes {listed}; "
            "convert it again with all but the image as constants"
        )
    if len(found) == 1:
        return usable[0], []
    note = f"of its signatures {names} {usable[0].name!r} is taken; signature takes another"
    return usable[0], [note]


def _takes_an_image(signature: _Signature, model: Any) -> bool:
    if len(signature.inputs) != 1:
        return False
    (index,) = signature.inputs.values()
    return len(model.subgraphs[signature.graph].tensors[index].shape) == 4


def _inputs_text(signature: _Signature, model: Any) -> str:
    tensors = model.subgraphs[signature.graph].tensors
    told = [
        f"{name!r} ({' x '.join(map(str, tensors[index].shape))})"
        for name, index in signature.inputs.items()
    ]
    place = f" in its signature {signature.name!r}" if signature.name else ""
    return f"{', '.join(told) or 'none'}{place}"


def _image(details: Mapping[str, Any]) -> Array:
    values: Array = np.random.default_rng(0).integers(0, 128, details["shape"])
    return values.astype(details["dtype"])


def _answers(path: Path, model: Any, chosen: _Signature) -> dict[str, Array]:
    """What the file answers to noise, by the names of a signature's outputs."""
    interpreter = open_interpreter(path)
    step()
    try:
        if chosen.name:
            runner = interpreter.get_signature_runner(chosen.name)
            fed = {name: _image(each) for name, each in runner.get_input_details().items()}
            return {name: np.array(value) for name, value in runner(**fed).items()}
        details = interpreter.get_input_details()
        if len(details) != 1:
            raise ModelError(
                f"{path.name}: a classifier has one input, the image, but this one takes "
                f"{_inputs_text(chosen, model)}; convert it again with all but the image as "
                "constants"
            )
        interpreter.set_tensor(details[0]["index"], _image(details[0]))
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in chosen.outputs.items()}
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{path.name}: LiteRT cannot run it ({first_line(error)})") from error


def _output(
    path: Path,
    chosen: _Signature,
    answers: Mapping[str, Array],
    wish: str | int | None,
    classes: int | None,
) -> tuple[str, list[str]]:
    names = list(chosen.outputs)
    if isinstance(wish, int) and wish < len(names):
        return names[wish], []
    if wish is not None:
        if wish in names:
            return str(wish), []
        field = "name" if isinstance(wish, str) else "index"
        listed = ", ".join(f"{number}: {name!r}" for number, name in enumerate(names))
        raise ModelError(f"{path.name}: output.{field}: {wish!r} is none of its outputs {listed}")
    told = [f"{name!r} ({' x '.join(map(str, answers[name].shape))})" for name in names]
    usable = [name for name in names if looks_like_scores(answers[name])]
    if not usable:
        raise ModelError(
            f"{path.name}: none of its outputs looks like a classifier's scores (1, classes): "
            f"{', '.join(told)}"
        )
    fitting = [
        n for n in usable if classes is not None and answers[n].size in (classes, classes + 1)
    ]
    several = [name for name in usable if answers[name].size > 1]
    name = (fitting or several or usable)[0]
    if len(names) == 1:
        return name, []
    others = [text for text, each in zip(told, names, strict=True) if each != name]
    return name, [
        f"of its outputs {told[names.index(name)]} is taken, not {', '.join(others)}; output.name "
        "takes another"
    ]


def _leave(path: Path, model: Any, chosen: _Signature, output: int) -> None:
    """Leave the graph of a signature alone in the file, with one output. In place."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[chosen.graph]
    codes = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    used = {codes.get(model.operatorCodes[o.opcodeIndex].builtinCode) for o in graph.operators}
    if chosen.graph and used & CALLS:
        raise ModelError(
            f"{path.name}: its signature {chosen.name!r} runs other graphs of the file "
            f"({', '.join(sorted(str(name) for name in used & CALLS))}), and cannot stand alone; "
            "convert it again with this signature alone"
        )
    graph.outputs = [output]
    if chosen.inputs:
        graph.inputs = list(chosen.inputs.values())
    if not used & CALLS:
        model.subgraphs = [graph]
    model.signatureDefs = None


def _compare(path: Path, made: Path, chosen: _Signature, wanted: Array) -> None:
    loaded = load_tflite(made)
    details = open_interpreter(made).get_input_details()[0]
    found = loaded.run(_image(details))
    if found.tobytes() != wanted.tobytes():
        raise ModelError(
            f"{path.name}: taken alone, its signature {chosen.name!r} answers differently; "
            "convert it again with this signature, and the scores as the only output"
        )
