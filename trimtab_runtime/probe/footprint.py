"""Loading stages, and what they take of memory: nothing else may have been in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Optional

from trimtab_runtime.definition import Stage
from trimtab_runtime.engines import create_engine, engine_module_loaded
from trimtab_runtime.plan import LoadedStage
from trimtab_runtime.preprocess import Preprocessor, decode_image
from trimtab_runtime.probe.clock import peak_mb, resident_mb, timed_ms
from trimtab_runtime.probe.requests import StageFile

#: Images that each stage runs on before its memory counts as settled.
_IMAGES = 8


def load_stages(
    files: Sequence[StageFile], images: Sequence[str], progress: Callable[[int, int], None]
) -> tuple[list[LoadedStage], dict[str, float]]:
    """The stages, and `load_ms` with their memory in MB (where the system tells): `peak_mb` of
    the process with one decoded image at a time; `start_mb` before an engine, `engine_mb` of the
    engines' libraries, `resident_mb` of the models after running, and what loading and running
    took for a moment above that (`load_transient_mb`, `run_transient_mb`)."""
    memory = {"start": resident_mb()}
    for engine in sorted({file.options.engine for file in files}):
        engine_module_loaded(engine)
    memory["engine"] = resident_mb()
    stages, load_ms = timed_ms(lambda: [_load(file) for file in files])
    memory["loaded"], memory["load_peak"] = resident_mb(), peak_mb()
    for image in images[:_IMAGES]:
        prepared = Preprocessor(decode_image(image))
        for stage in stages:
            stage.probabilities(stage.outputs(prepared))
            progress(0, 1)
    memory["warm"], memory["run_peak"] = resident_mb(), peak_mb()
    return stages, {"load_ms": load_ms, **_values(memory)}


def _load(file: StageFile) -> LoadedStage:
    engine = create_engine(file.model, file.variant, file.options)
    return LoadedStage(engine, Stage(file.variant.sha256, file.options))


def _values(memory: dict[str, Optional[float]]) -> dict[str, float]:
    """Differences in MB; nothing where the system does not tell."""
    known: dict[str, Any] = {name: value for name, value in memory.items() if value is not None}
    if len(known) < len(memory):
        return {}
    return {
        "start_mb": known["start"],
        "engine_mb": known["engine"] - known["start"],
        "resident_mb": known["warm"] - known["engine"],
        "load_transient_mb": max(0.0, known["load_peak"] - known["loaded"]),
        "run_transient_mb": max(0.0, known["run_peak"] - known["warm"]),
        "peak_mb": known["run_peak"],
    }
