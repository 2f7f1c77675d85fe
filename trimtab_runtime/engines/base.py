"""What an engine promises."""

from __future__ import annotations

import math
import re
from typing import Any, Optional

import numpy as np

from trimtab_runtime.definitions.plan import OutputFormat, Variant
from trimtab_runtime.errors import InferenceError, ModelError

_FLOAT = np.dtype(np.float32)
_CODE = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : (?:Load model from .*? failed: ?)?(?:Fatal error: )?"
)
#: A source file and line, as in `/onnxruntime_src/onnxruntime/core/graph/model.cc:256 `.
_SOURCE = re.compile(r"[\w./\\-]+\.(?:cc|cpp|cxx|h|hpp):\d+ (?=[^\n(]*::[^\n(]*\()")
#: As in `tensorprotoutils.cc:461 ValidateExternalDataPath `.
_PLACE = re.compile(r"\w+\.cc:\d+ (?:[A-Z][a-z0-9]+){2,} ")
#: What onnx writes: `/project/onnx/convert.h:96: function: Assertion `x` failed: `.
_ASSERTION = re.compile(r"\S+\.(?:cc|h):\d+: \w+: Assertion `[^`]*` failed: ")
_QUALIFIERS = re.compile(r"^(?: const| noexcept| \[with [^\]]*\])*\s*")
_OUT_OF_MEMORY = ("bad_alloc", "bad allocation", "allocate memory", "out of memory")


class Engine:
    """One loaded model. Not safe for use from several threads at a time."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant

    def run(self, tensor: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Outputs of one input (1, ...) as float32 (classes,): dequantised, background dropped."""
        raise NotImplementedError


class SegmentedEngine(Engine):
    """A model cut at taps. An image is `start`ed, comes to `tap` after `tap`, and to its end in
    `finish`, from wherever it is. Arrays from `tap` are valid until the next one is asked there.
    """

    def start(self, tensor: np.ndarray[Any, Any]) -> None:
        """A new input (1, ...)."""
        raise NotImplementedError

    def tap(self) -> tuple[np.ndarray[Any, Any], Optional[np.ndarray[Any, Any]]]:
        """Run to the next tap: its pooled vector float32 (channels,), and its head's logits
        (classes,) where one is asked."""
        raise NotImplementedError

    def finish(self) -> np.ndarray[Any, Any]:
        """Run all that is left: what `run` gives."""
        raise NotImplementedError

    def run(self, tensor: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.start(tensor)
        return self.finish()


def real_outputs(raw: np.ndarray[Any, Any], fmt: OutputFormat) -> np.ndarray[Any, Any]:
    """The classes' outputs as float32 (classes,) of a raw output (1, classes + offset), or of a
    single score (1, 1)."""
    values = _plain_outputs(raw.reshape(-1), fmt)
    return values if fmt.threshold is None else _two_outputs(values, fmt.threshold, fmt.kind)


def _two_outputs(score: np.ndarray[Any, Any], threshold: float, kind: str) -> np.ndarray[Any, Any]:
    """What two classes get (2,) from the score (1,) of the second, so that both are as probable
    where that class' probability is the threshold."""
    if score.size != 1:
        raise InferenceError(f"a model with a threshold gives one score, this one {score.size}")
    odds = threshold / (1.0 - threshold)
    if kind == "logits":
        return np.array([0.0, float(score[0]) - math.log(odds)], np.float32)
    second = float(score[0])
    first = (1.0 - second) * odds
    return np.array([first, second], np.float32) / np.float32(first + second or 1.0)


def _plain_outputs(values: np.ndarray[Any, Any], fmt: OutputFormat) -> np.ndarray[Any, Any]:
    """Dequantised, background dropped."""
    if fmt.offset:
        values = values[fmt.offset :]
        if not values.size:
            raise InferenceError(f"offset {fmt.offset} leaves none of the outputs")
    if fmt.quantisation is not None:
        zero, scale = np.float32(fmt.quantisation.zero_point), np.float32(fmt.quantisation.scale)
        return (values.astype(np.float32) - zero) * scale
    return values if values.dtype is _FLOAT else values.astype(np.float32, copy=False)


def told(error: BaseException) -> str:
    """What an engine's error says, without where in its source; where memory ran out, that, and
    what helps."""
    text = _reason(str(error))
    if isinstance(error, MemoryError) or any(sign in text.lower() for sign in _OUT_OF_MEMORY):
        return f"too little memory; take a smaller model or input size, or free memory ({text})"
    return text


def _reason(text: str) -> str:
    """The text without onnxruntime's error codes, and without the C++ file, line and signature
    that it and onnx write before a reason."""
    parts, rest = [], _PLACE.sub("", _ASSERTION.sub("", _CODE.sub("", text)))
    found = _SOURCE.search(rest)
    while found is not None:
        parts.append(rest[: found.start()])
        rest = _behind_signature(rest[found.end() :])
        found = _SOURCE.search(rest)
    return " ".join(part.strip() for part in [*parts, rest] if part.strip())


def _behind_signature(text: str) -> str:
    """What follows `kind scope::name(types) const `; all of it where that is no signature."""
    depth, opened = 0, False
    for place, character in enumerate(text):
        if character == "\n":
            break
        if character == "(":
            depth, opened = depth + 1, True
        elif character == ")":
            depth -= 1
            if opened and depth == 0 and text[place + 1 : place + 2] != "(":  # operator()(...)
                return _QUALIFIERS.sub("", text[place + 1 :])
    return text


def one_input_one_output(name: str, inputs: int, outputs: int) -> None:
    """Raises ModelError unless the model has exactly one input and one output."""
    if (inputs, outputs) != (1, 1):
        raise ModelError(
            f"{name}: a classifier needs one input and one output, this model has "
            f"{inputs} and {outputs}"
        )
