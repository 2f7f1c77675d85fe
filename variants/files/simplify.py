"""Making an ONNX graph plain with onnxruntime's basic pass: constants folded, convolutions fused
with what follows them linearly, shapes known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.variants.files.base import first_line
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx

_OPSET = 13  # per-channel (De)QuantizeLinear begins with it, and axes become inputs


def write_plain(model: onnx.ModelProto, shape: Sequence[int | None], folder: Path) -> Path:
    """Fix the input's shape, fold and fuse what onnxruntime's basic pass can, infer all shapes.

    `model` is changed: its one input gets `shape` (None: what the file has). An opset below 13
    becomes 13. The result is a checked file in `folder`. Raises ModelError with the first line of
    what onnx or onnxruntime say, for the caller to put into words.
    """
    import onnxruntime
    from onnx import checker, save, shape_inference, version_converter

    fixed, basic, ready = (folder / f"{name}.onnx" for name in ("fixed", "basic", "ready"))
    _fix_input(model, shape)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(basic)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        if min(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) < _OPSET:
            model = version_converter.convert_version(model, _OPSET)
        save(model, str(fixed))
        onnxruntime.InferenceSession(str(fixed), options, providers=["CPUExecutionProvider"])
        shape_inference.infer_shapes_path(str(basic), str(ready))
        checker.check_model(str(ready))
    except Exception as error:  # onnx and onnxruntime errors share no public base class
        raise ModelError(first_line(error)) from error
    return ready


def _fix_input(model: onnx.ModelProto, shape: Sequence[int | None]) -> None:
    constants = {tensor.name for tensor in model.graph.initializer}
    (value,) = (v for v in model.graph.input if v.name not in constants)
    for dimension, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
        if size is not None:
            dimension.dim_value = size
