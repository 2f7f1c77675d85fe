"""NNCF's accuracy control, a baseline for development: Trimtab does not use it.

    pip install --target DIR --no-deps nncf tabulate openvino-telemetry natsort pydot pyparsing \\
        networkx safetensors
    PYTHONPATH=DIR python -m benchmarks.mixed_precision
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.images.preprocess import Preprocessor

#: The loss of top-1 that it is to stay below, as a fraction.
MAX_DROP = 0.005


def why_not() -> str | None:
    """Why it is not measured; None where it can be."""
    try:
        importlib.import_module("nncf.onnx")
    except ImportError as error:
        return str(error)
    return None


def accuracy_controlled(
    source: Path,
    variant: Variant,
    calibration: Sequence[Path],
    controlled: Sequence[tuple[Path, int]],
    out: Path,
) -> None:
    """Quantise the float ONNX file `source` into `out`, with as many operators in float as keep
    top-1 on the `controlled` images (with their labels) within MAX_DROP."""
    nncf: Any = importlib.import_module("nncf")
    model = onnx.load(str(source))
    name = model.graph.input[0].name
    labels = [label for _, label in controlled]

    def fed(images: Sequence[Path]) -> list[dict[str, Any]]:
        return [{name: Preprocessor(image).tensor(variant.input)} for image in images]

    shown = fed([image for image, _ in controlled])

    def top1(made: onnx.ModelProto, _: object) -> tuple[float, None]:
        session = onnxruntime.InferenceSession(
            made.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        found = [int(session.run(None, each)[0].argmax()) for each in shown]
        return float(np.mean(np.array(found) == labels)), None

    made = nncf.quantize_with_accuracy_control(
        model, nncf.Dataset(fed(calibration)), nncf.Dataset(shown), top1, max_drop=MAX_DROP
    )
    onnx.save(made, str(out))
