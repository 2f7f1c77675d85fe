"""Files of a newer version of ONNX than the engine here knows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.variants.files.base import first_line
from trimtab_runtime.errors import ModelError

if TYPE_CHECKING:
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
