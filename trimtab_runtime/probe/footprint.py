"""Loading stages, and what they take of memory: nothing else may have been in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import numpy as np

from trimtab_runtime.definitions.exits import Memory
from trimtab_runtime.definitions.plan import Stage, Structure
from trimtab_runtime.engines import engine_module_loaded
from trimtab_runtime.errors import ModelError
from trimtab_runtime.images.largest import largest_image
from trimtab_runtime.images.preprocess import Preprocessor, decode_image
from trimtab_runtime.memory.semantic import Recall
from trimtab_runtime.plans.deciders import LoadedRouter
from trimtab_runtime.plans.early_exits import load_recall
from trimtab_runtime.plans.stage import LoadedStage, load_stage
from trimtab_runtime.probe.clock import peak_mb, resident_mb, timed_ms
from trimtab_runtime.probe.requests import MeasureRequest, RouterFile, StageFile

#: Images that each stage runs on before its memory counts as settled.
_IMAGES = 8


class Loaded(NamedTuple):
    """What runs: the stages, the full memory of a plan of them (None where nothing stops early),
    and the router in front (None without one)."""

    stages: list[LoadedStage]
    recall: Optional[Recall]
    router: Optional[LoadedRouter]


def load_stages(
    request: MeasureRequest, progress: Callable[[int, int], None]
) -> tuple[Loaded, dict[str, float]]:
    """What a request names, and `load_ms` with its memory in MB (where the system tells):
    `peak_mb` of the process with one decoded image at a time; `start_mb` before an engine,
    `engine_mb` of the engines' libraries (OpenCV among them, where the router needs it),
    `resident_mb` of the models and what they remember after running, and what loading and running
    took for a moment above that (`load_transient_mb`, `run_transient_mb`)."""
    files, sizes = request.stages, {"start": resident_mb()}
    _load_libraries(request)
    sizes["engine"] = resident_mb()
    (stages, router), load_ms = timed_ms(
        lambda: ([load_file(file) for file in files], _load_router(request.router))
    )
    sizes["loaded"], sizes["load_peak"] = resident_mb(), peak_mb()
    classes = 0
    for image in request.images[:_IMAGES]:
        classes = _run(image, stages, router, progress)
    recall = full_recall(files, request.memory, classes)
    sizes["warm"] = resident_mb()
    with largest_image(request.largest_pixels) as largest:
        for image in largest:  # last, as the system may not take back all of it at once
            _run(image, stages, router, progress)
    sizes["run_peak"] = peak_mb()
    return Loaded(stages, recall, router), {"load_ms": load_ms, **_values(sizes)}


def _run(
    path: str,
    stages: Sequence[LoadedStage],
    router: Optional[LoadedRouter],
    progress: Callable[[int, int], None],
) -> int:
    """All stages on one image; how many classes the last one knows."""
    classes, prepared = 0, Preprocessor(decode_image(path))
    if router is not None:
        router.enter(prepared, stages[0], 0.0)
    for stage in stages:
        said = stage.probabilities(stage.outputs(prepared))
        stage.confidence(said, 0.0)
        classes = len(said)
        progress(0, 1)
    return classes


def _load_libraries(request: MeasureRequest) -> None:
    engines = {file.options.engine for file in request.stages}
    if request.router is not None or any(file.scorer for file in request.stages):
        engines.add("onnxruntime")
    for engine in sorted(engines):
        engine_module_loaded(engine)
    if request.router is not None:
        request.router.router.looks_at.load()


def load_file(file: StageFile) -> LoadedStage:
    """Load one stage. Raises EngineError or ModelError."""
    return load_stage(_stage(file), file.variant, file.model, file.segments, file.scorer)


def _load_router(file: Optional[RouterFile]) -> Optional[LoadedRouter]:
    return None if file is None else LoadedRouter(file.router, file.model)


def full_recall(files: Sequence[StageFile], memory: Memory, classes: int) -> Optional[Recall]:
    """A memory as after many frames, whose entries are noise; None where nothing stops early.
    Raises BundleError or ModelError."""
    try:
        route = "single" if len(files) == 1 else "cascade"
        structure = Structure(route, tuple(map(_stage, files)), memory=memory)
    except ValueError as error:
        raise ModelError(f"these stages are no plan ({error})") from None
    places: dict[str, str] = {}
    for file in files:
        if file.exits is not None and any(tap.kinds for tap in file.exits.taps):
            if file.arrays is None:
                raise ModelError(f"{file.variant.name}: its taps need their arrays to be measured")
            places[file.exits.arrays] = file.arrays
    recall = load_recall(structure, classes, lambda sha: Path(places[sha]))
    if recall is None:
        return None
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
