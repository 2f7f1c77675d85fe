"""Loading stages, and what they take of memory: nothing else may have been in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from trimtab_runtime.definition import Stage, Structure
from trimtab_runtime.early import load_recall
from trimtab_runtime.engines import engine_module_loaded
from trimtab_runtime.errors import ModelError
from trimtab_runtime.exits import NO_MEMORY, Memory
from trimtab_runtime.memory import Recall
from trimtab_runtime.preprocess import Preprocessor, decode_image
from trimtab_runtime.probe.clock import peak_mb, resident_mb, timed_ms
from trimtab_runtime.probe.requests import StageFile
from trimtab_runtime.stage import LoadedStage, load_stage

#: Images that each stage runs on before its memory counts as settled.
_IMAGES = 8


def load_stages(
    files: Sequence[StageFile],
    memory: Memory,
    images: Sequence[str],
    progress: Callable[[int, int], None],
) -> tuple[list[LoadedStage], Optional[Recall], dict[str, float]]:
    """The stages, the full memory of a plan of them (None where nothing stops early), and
    `load_ms` with their memory in MB (where the system tells): `peak_mb` of the process with one
    decoded image at a time; `start_mb` before an engine, `engine_mb` of the engines' libraries,
    `resident_mb` of the models and what they remember after running, and what loading and running
    took for a moment above that (`load_transient_mb`, `run_transient_mb`)."""
    sizes = {"start": resident_mb()}
    for engine in sorted({file.options.engine for file in files}):
        engine_module_loaded(engine)
    sizes["engine"] = resident_mb()
    stages, load_ms = timed_ms(lambda: [load_file(file) for file in files])
    sizes["loaded"], sizes["load_peak"] = resident_mb(), peak_mb()
    classes = 0
    for image in images[:_IMAGES]:
        prepared = Preprocessor(decode_image(image))
        for stage in stages:
            classes = len(stage.probabilities(stage.outputs(prepared)))
            progress(0, 1)
    recall = None
    if memory != NO_MEMORY or any(file.exits for file in files):
        recall = full_recall(files, memory, classes)
    sizes["warm"], sizes["run_peak"] = resident_mb(), peak_mb()
    return stages, recall, {"load_ms": load_ms, **_values(sizes)}


def load_file(file: StageFile) -> LoadedStage:
    """Load one stage. Raises EngineError or ModelError."""
    return load_stage(_stage(file), file.variant, file.model, file.segments)


def full_recall(files: Sequence[StageFile], memory: Memory, classes: int) -> Recall:
    """A memory as after many frames, whose entries are noise. Raises BundleError or ModelError."""
    try:
        route = "single" if len(files) == 1 else "cascade"
        structure = Structure(route, tuple(map(_stage, files)), memory=memory)
    except ValueError as error:
        raise ModelError(f"these stages are no plan ({error})") from None
    places: dict[str, str] = {}
    for file in files:
        if file.exits is not None:
            if file.arrays is None:
                raise ModelError(f"{file.variant.name}: its taps need their arrays to be measured")
            places[file.exits.arrays] = file.arrays
    recall = load_recall(structure, classes, lambda sha: Path(places[sha]))
    assert recall is not None  # whoever asks has exits or a memory
    generator, full = np.random.default_rng(0), recall.snapshot()
    for name, array in full.items():
        if name.endswith("_vectors"):
            array[...] = generator.standard_normal(array.shape, np.float32)
            if name.startswith("tap_"):
                array /= np.sqrt((array**2).sum(axis=1, keepdims=True))
        elif name.endswith("_said"):
            array[...] = np.float32(1 / classes)
        elif name.endswith("_used"):
            array[...] = 0
    recall.put_back(full)
    return recall


def _stage(file: StageFile) -> Stage:
    return Stage(file.variant.sha256, file.options, exits=file.exits)


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
