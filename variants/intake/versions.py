"""Files of a newer version of ONNX than the engine here knows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.variants.files.base import first_line
from trimtab.variants.intake.trial import Trial, noise
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

_IR_LIMIT = re.compile(r"Unsupported model IR version: \d+, max supported IR version: (\d+)")
_OPSET_LIMIT = re.compile(r"support for domain ai\.onnx is till opset (\d+)")


def lower_versions(path: Path, model: ir.Model, refusal: str) -> tuple[ir.Model, str] | None:
    """A model in versions that the engine takes, and what was done; None where the engine's
    `refusal` is not about versions.

    Raises ModelError naming both versions where onnx cannot convert it.
    """
    found = _IR_LIMIT.search(refusal)
    if found is not None:
        had, model.ir_version = model.ir_version, int(found[1])
        return model, f"its IR version {had} is lowered to {found[1]}, onnxruntime's newest"
    found = _OPSET_LIMIT.search(refusal)
    if found is None:
        return None
    had, wanted = model.opset_imports.get("", 0), int(found[1])
    return _converted(path, model, had, wanted), (
        f"its opset {had} is converted to {wanted}, onnxruntime's newest"
    )


def reference_difference(
    before: onnx.ModelProto, after: Path, dims: Sequence[int]
) -> float | None:
    """How far apart onnx's own reference on a model that the engine refuses, and the engine on the
    changed one are, of the largest answer; None where the reference cannot run it."""
    from onnx.reference import ReferenceEvaluator

    trial = Trial(after)
    tensor = noise(dims, trial.type)
    (made,) = trial.run(tensor).values()
    try:
        name = next(v.name for v in before.graph.input)
        answers: Any = ReferenceEvaluator(before).run([trial.outputs[0]], {name: tensor})
    except Exception:  # whatever its operators raise; it then tells nothing
        return None
    wanted = np.asarray(answers[0], np.float64)
    if wanted.size != made.size:
        return None
    return float(np.abs(wanted.ravel() - made.ravel()).max() / max(np.abs(wanted).max(), 1e-12))


def _converted(path: Path, model: ir.Model, had: int, wanted: int) -> ir.Model:
    import onnx_ir as ir
    from onnx import version_converter

    try:
        return ir.from_proto(version_converter.convert_version(ir.to_proto(model), wanted))
    except Exception as error:  # the converter's errors share no public base class
        raise ModelError(
            f"{path.name}: it is of opset {had}, onnxruntime here knows opset {wanted}, and onnx "
            f"cannot convert it ({first_line(error)}); export it again with opset {wanted}"
        ) from error
