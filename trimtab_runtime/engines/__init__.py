"""Inference engines behind one face: a tensor in, one row of float32 outputs out."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from trimtab_runtime.definitions.exits import Exits
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines.base import Engine, SegmentedEngine
from trimtab_runtime.errors import EngineError

__all__ = [
    "Engine",
    "SegmentedEngine",
    "create_engine",
    "create_segments",
    "engine_accelerators",
    "engine_module_loaded",
    "engine_version",
    "engine_versions",
    "format_engine",
]

_MODULES = {"onnxruntime": "_onnx", "litert": "_litert"}


def format_engine(model_format: str) -> str:
    """The engine that runs a model format."""
    return {"onnx": "onnxruntime", "tflite": "litert"}[model_format]


def _module(engine: str) -> Any:
    return importlib.import_module("trimtab_runtime.engines." + _MODULES[engine])


def create_engine(path: str, variant: Variant, options: RuntimeOptions) -> Engine:
    """Load the model file at `path`.

    Raises EngineError when the engine is not installed or refuses an option, ModelError when it
    refuses the file.
    """
    if options.engine != format_engine(variant.format):
        raise EngineError(f"{options.engine} does not run {variant.format} files ({variant.name})")
    engine: Engine = _module(options.engine).create(path, variant, options)
    return engine


def create_segments(
    paths: Sequence[str], variant: Variant, exits: Exits, options: RuntimeOptions
) -> SegmentedEngine:
    """Load a model that was cut at taps, one file a segment. Only onnxruntime runs segments.

    Raises as :func:`create_engine`.
    """
    if (options.engine, variant.format) != ("onnxruntime", "onnx"):
        raise EngineError(
            f"only onnxruntime runs segments, of ONNX files; {variant.name} is a {variant.format} "
            f"file for {options.engine}"
        )
    module = importlib.import_module("trimtab_runtime.engines._onnx_segments")
    engine: SegmentedEngine = module.create(paths, variant, exits, options)
    return engine


def engine_module_loaded(engine: str) -> None:
    """Import the engine's library, so that its memory can be told from the model's."""
    _module(engine).version()


def engine_version(engine: str) -> str:
    """The version of an engine. Raises EngineError when it is not installed."""
    found: str = _module(engine).version()
    return found


def engine_versions() -> dict[str, str]:
    """Installed engines and their versions; one that cannot be imported is left out."""
    found = {}
    for engine in _MODULES:
        try:
            found[engine] = engine_version(engine)
        except EngineError:
            continue
    return found


def engine_accelerators() -> list[str]:
    """onnxruntime's execution providers beyond the CPU's own; none where it is not installed."""
    try:
        found: list[str] = _module("onnxruntime").accelerators()
    except EngineError:
        return []
    return found
