"""How long a step over a model may take, and how much memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trimtab_runtime.images.listing import image_suffixes

STEP_S = 120.0
_BASE_BYTES = 4 * 2**30
#: Copies of the weights that exist at a time: the file, its graph, the engine's, its kernels'.
_COPIES = 8
_MODELS = (".onnx", ".tflite")
#: The weights of one protobuf message, which is all that is read into memory.
_MOST_WEIGHTS_BYTES = 2**31


@dataclass(frozen=True)
class Limits:
    """A process ends unless a step begins every `step_s` seconds, and gets no more than
    `memory_bytes` of memory of its own."""

    step_s: float = STEP_S
    memory_bytes: int = _BASE_BYTES


def memory_for(path: Path) -> int:
    """Bytes for whoever works with a model file: 4 GB, and eight times its weights, which may lie
    in files beside it."""
    beside, others = 0, (*_MODELS, *image_suffixes())
    for each in path.parent.iterdir() if path.suffix.lower() == ".onnx" else ():
        if each.suffix.lower() not in others and each.is_file():
            beside += each.stat().st_size
    own = path.stat().st_size if path.is_file() else 0
    return _BASE_BYTES + _COPIES * min(own + beside, _MOST_WEIGHTS_BYTES)
