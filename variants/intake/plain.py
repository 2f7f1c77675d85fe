"""Making a graph plain without changing what it computes: no local functions, constants folded,
nodes named, shapes inferred, nothing that is unused."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

#: Elements of the largest tensors that folding reads and makes: it is meant for shapes, scales and
#: the like, and may not blow up a file.
_READ_ELEMENTS, _MADE_ELEMENTS = 8192, 65536


def make_plain(model: ir.Model) -> list[str]:
    """Change the model in place; returns what was done that a reader can see, in words.

    Quantize- and DequantizeLinear stay as they are, and so do operators of other domains.
    """
    from onnx_ir.passes import common
    from onnxscript import optimizer

    limits = {"input_size_limit": _READ_ELEMENTS, "output_size_limit": _MADE_ELEMENTS}
    done = {
        "weights are no inputs": common.RemoveInitializersFromInputsPass()(model).modified,
        "local functions inlined": bool(model.functions) and common.InlinePass()(model).modified,
        "constants folded": optimizer.fold_constants(
            model, onnx_shape_inference=True, should_fold=_small_constant, **limits
        ).modified,
        "constants are initialisers": common.LiftConstantsToInitializersPass(
            lift_all_constants=True, size_limit=0
        )(model).modified,
        "identities removed": common.IdentityEliminationPass()(model).modified,
        "unused parts removed": common.RemoveUnusedNodesPass()(model).modified,
    }
    common.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]  # its constructor
    done["nodes named"] = name_nodes(model)
    common.ShapeInferencePass(check_type=False, strict_mode=False)(model)
    return [text for text, changed in done.items() if changed]


def _small_constant(node: ir.Node) -> bool | None:
    """Whether a node is a ConstantOfShape of few elements, which folding leaves by default, and
    shapes behind it (of a Pad by computed amounts) are then not known; None: as it is by
    default."""
    if node.op_type != "ConstantOfShape" or node.inputs[0] is None:
        return None
    shape = node.inputs[0].const_value
    return None if shape is None else int(shape.numpy().prod()) <= _READ_ELEMENTS


def sort_nodes(model: ir.Model) -> bool:
    """Nodes behind those whose tensors they read, which engines do not ask of a file, and readers
    here do. In place; returns whether some were not."""
    from onnx_ir.passes import common

    return common.TopologicalSortPass()(model).modified


def name_nodes(model: ir.Model) -> bool:
    """Names of their own for nodes without one or with another's."""
    taken: set[str] = set()
    numbers: Counter[str] = Counter()
    changed = False
    for graph in model.graphs():
        for node in graph:
            if not node.name or node.name in taken:
                node.name = _free(node.name or node.op_type, taken, numbers)
                changed = True
            taken.add(node.name)
    return changed


def _free(name: str, taken: set[str], numbers: Counter[str]) -> str:
    """The name with the next of its `numbers` that is free."""
    numbers[name] += 1
    while f"{name}_{numbers[name]}" in taken:
        numbers[name] += 1
    return f"{name}_{numbers[name]}"
