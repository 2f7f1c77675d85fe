"""Files of a newer version of ONNX than the engine here knows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class NewestVersions:
    """The newest intermediate representation and opset that an `engine` (name and version) takes;
    None where nothing is known against those of a model."""

    engine: str
    ir_version: int | None = None
    opset: int | None = None


def newest_versions(refusal: str, engine: str) -> NewestVersions | None:
    """What onnxruntime's `refusal` of a model tells; None where it is not about versions."""
    found = _IR_LIMIT.search(refusal)
    if found is not None:
        return NewestVersions(engine, ir_version=int(found[1]))
    found = _OPSET_LIMIT.search(refusal)
    return None if found is None else NewestVersions(engine, opset=int(found[1]))


def lower_versions(
    path: Path, model: ir.Model, newest: NewestVersions
) -> tuple[ir.Model, list[str]]:
    """A model in versions that an engine takes, and what was done.

    Raises ModelError naming both versions where onnx cannot convert it.
    """
    notes = []
    if newest.ir_version is not None and model.ir_version > newest.ir_version:
        notes.append(
            f"its IR version {model.ir_version} is lowered to {newest.ir_version}, the newest of "
            f"{newest.engine}"
        )
        model.ir_version = newest.ir_version
    had = model.opset_imports.get("", 0)
    if newest.opset is not None and had > newest.opset:
        model = _converted(path, model, had, newest)
        notes.append(
            f"its opset {had} is converted to {newest.opset}, the newest of {newest.engine}"
        )
    return model, notes


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


def _converted(path: Path, model: ir.Model, had: int, newest: NewestVersions) -> ir.Model:
    import onnx_ir as ir
    from onnx import version_converter

    assert newest.opset is not None
    try:
        return ir.from_proto(version_converter.convert_version(ir.to_proto(model), newest.opset))
    except Exception as error:  # the converter's errors share no public base class
        raise ModelError(
            f"{path.name}: it is of opset {had}, {newest.engine} knows opset {newest.opset}, and "
            f"onnx cannot convert it ({first_line(error)}); export it again with opset "
            f"{newest.opset}"
        ) from error
