"""LiteRT (ai-edge-litert), or tflite-runtime where only that is installed."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines.base import Engine, one_input_one_output, told
from trimtab_runtime.engines.outputs import class_outputs
from trimtab_runtime.errors import EngineError, InferenceError, ModelError

_PACKAGES = (
    ("ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime"),
)


def _interpreter_module() -> tuple[Any, str]:
    for module, distribution in _PACKAGES:
        try:
            return importlib.import_module(module), distribution
        except ImportError:
            continue
    raise EngineError("LiteRT is missing: pip install ai-edge-litert")


def version() -> str:
    _, distribution = _interpreter_module()
    return f"{distribution} {importlib.metadata.version(distribution)}"


def providers() -> list[str]:
    return ["XNNPACK", "builtin"]


@contextlib.contextmanager
def _native_messages_dropped() -> Iterator[None]:
    """LiteRT's C++ side tells standard error which delegate it made; its errors are raised."""
    kept = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)


class LiteRTEngine(Engine):
    """A LiteRT interpreter with its tensors allocated."""

    def __init__(self, variant: Variant, interpreter: Any) -> None:
        super().__init__(variant)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        one_input_one_output(variant.name, len(inputs), len(outputs))
        self._interpreter = interpreter
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]

    def run(self, tensor: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        try:
            self._interpreter.set_tensor(self._input, tensor)
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise InferenceError(f"{self.variant.name}: {told(error)}") from error
        return class_outputs(self._interpreter.get_tensor(self._output), self.variant.output)


def open_interpreter(path: str, name: str, options: RuntimeOptions) -> Any:
    """An interpreter with its tensors allocated. Raises EngineError, or ModelError naming it."""
    module, _ = _interpreter_module()
    if options.provider not in ("default", *providers()):
        raise EngineError(f"LiteRT has no {options.provider}, only {', '.join(providers())}")
    extra = {}
    if options.provider == "builtin":
        kinds = module.OpResolverType
        extra["experimental_op_resolver_type"] = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        with _native_messages_dropped():
            interpreter = module.Interpreter(path, num_threads=options.threads, **extra)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{name}: LiteRT cannot load it ({told(error)})") from error
    return interpreter


def create(path: str, variant: Variant, options: RuntimeOptions) -> LiteRTEngine:
    return LiteRTEngine(variant, open_interpreter(path, variant.name, options))
