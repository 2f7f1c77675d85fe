"""A starter specification for a folder of models and images: what the files tell, and marked
guesses for the rest."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trimtab.planner.specification.job import load_spec
from trimtab.planner.specification.template import (
    GUESS,
    OPEN_SIZE,
    FoundImages,
    FoundModel,
    starter_text,
)
from trimtab.variants import inspect_in_subprocess, make_variant
from trimtab.workloads import IMAGE_SUFFIXES, Workload, read_workload
from trimtab_runtime.errors import SpecificationError, TrimtabError, WorkloadError

_MODEL_SUFFIXES = (".onnx", ".tflite")
_CLASS_FILES = ("classes.txt", "labels.txt", "class_names.txt")


@dataclass(frozen=True)
class Starter:
    """What was written: a summary in one line, the number of guesses, what was left out."""

    text: str
    summary: str
    guesses: int
    problems: tuple[str, ...]


#: Tries models on images, and replaces guesses by what answers best.
Proposer = Callable[[Sequence[FoundModel], FoundImages], None]


def write_starter(folder: Path, output: Path, propose: Proposer | None = None) -> Starter:
    """Write a specification for all models and images below `folder` to `output`.

    Guesses are replaced by what `propose` finds. Raises SpecificationError where there are none or
    the file cannot be written, WorkloadError where the images fit no layout.
    """
    if not folder.is_dir():
        raise SpecificationError(f"{folder}: is no folder; name the one with models and images")
    files = sorted(_files(folder))
    models, problems = _read_models([f for f in files if f.suffix.lower() in _MODEL_SUFFIXES])
    if not models:
        problem = f": {problems[0]}" if problems else ""
        raise SpecificationError(f"{folder}: no usable .onnx or .tflite model below it{problem}")
    images = _find_images(folder, files, {model.facts.output_width for model in models})
    _propose_offsets(models, images.workload)
    if propose is not None:
        try:
            propose(models, images)
        except TrimtabError as error:
            problems.append(f"nothing was tried on the images: {error}")
    text = starter_text(folder, output, models, images, problems)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecificationError(f"{output}: cannot be written ({error.strerror})") from error
    load_spec(output)
    count = len(images.workload)
    classes = f" in {len(images.workload.classes)} classes" if images.workload.classes else ""
    labels = "" if images.workload.labels is not None else " without labels"
    summary = f"{len(models)} model(s), {count} images{classes}{labels}"
    return Starter(text, summary, text.count(GUESS), tuple(problems))


def _files(folder: Path) -> Iterator[Path]:
    """Files below a folder; hidden folders, stores and environments are not entered."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name not in ("trimtab-store", "node_modules", "__pycache__")
            and not (Path(place) / name / "pyvenv.cfg").exists()
        )
        yield from (Path(place) / name for name in names if not name.startswith("."))


# ---- models ----------------------------------------------------------------------------------


def _read_models(paths: Sequence[Path]) -> tuple[list[FoundModel], list[str]]:
    stems = Counter(path.stem for path in paths)
    taken: set[str] = set()
    models, problems = [], []
    for path in paths:
        name = None
        if stems[path.stem] > 1:
            name = _free_name(f"{path.stem}-{path.suffix[1:].lower()}", taken)
        try:
            models.append(_read_model(path, name))
        except TrimtabError as error:
            problems.append(str(error) if path.name in str(error) else f"{path.name}: {error}")
    return models, problems


def _free_name(name: str, taken: set[str]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    taken.add(found)
    return found


def _read_model(path: Path, name: str | None) -> FoundModel:
    facts = inspect_in_subprocess(path)
    size = None if facts.input_size else OPEN_SIZE
    if size:
        facts = inspect_in_subprocess(path, size)
    guesses: tuple[tuple[float, float] | None, ...] = (None, (0.0, 1.0))
    if facts.dtype == "float32":
        guesses = ((127.5, 127.5),)
    failure: TrimtabError | None = None
    for guess in guesses:
        model = FoundModel(path, name, facts, size, guess)
        said = {"size": size, "mean": guess and guess[0], "std": guess and guess[1]}
        try:
            make_variant(path, facts, said, {}, path.stem)
        except TrimtabError as error:
            failure = failure or error
        else:
            return model
    assert failure is not None
    raise failure


def _propose_offsets(models: Sequence[FoundModel], workload: Workload) -> None:
    """One output more than there are classes (or than most other models have) is background."""
    known = len(workload.classes)
    widths = {model.facts.output_width for model in models}
    for model in models:
        width = model.facts.output_width or 0
        if width - 1 == known or (width != known and width - 1 in widths):
            model.offset = 1


# ---- images ----------------------------------------------------------------------------------


def _find_images(folder: Path, files: Sequence[Path], widths: set[int | None]) -> FoundImages:
    """The folder that reads best as a workload: with a labels.csv, else with a folder per class,
    else the one with most images."""
    counts = Counter(f.parent for f in files if f.suffix.lower() in IMAGE_SUFFIXES)
    if not counts:
        raise SpecificationError(f"{folder}: no images below it ({' '.join(IMAGE_SUFFIXES)})")
    tables = [file.parent for file in files if file.name == "labels.csv"]
    parents = Counter(place.parent for place in counts if place != folder)
    sizes = {p: sum(n for place, n in counts.items() if place.parent == p) for p in parents}
    per_class = sorted(
        (place for place, folders in parents.items() if folders > 1 and place not in counts),
        key=lambda place: -sizes[place],
    )
    flat = [place for place, _ in counts.most_common()]
    candidates = list(dict.fromkeys([*tables, *per_class, *flat]))
    class_files = [file for file in files if file.name in _CLASS_FILES]
    failure: WorkloadError | None = None
    for place in candidates:
        try:
            found = _read_images(place, class_files, widths)
        except WorkloadError as error:
            failure = failure or error
            continue
        rest = [other for other in (*tables, *per_class) if other != place]
        found.others += [o for o in rest if not o.is_relative_to(place)]
        return found
    assert failure is not None
    raise failure


def _read_images(place: Path, class_files: Sequence[Path], widths: set[int | None]) -> FoundImages:
    """With a class file where the labels alone do not name as many classes as a model has."""
    try:
        found, failure = FoundImages(place, read_workload(place)), None
    except WorkloadError as error:
        found, failure = None, error
    if found and (not found.workload.classes or _fits(found.workload, widths)):
        return found
    for file in class_files:
        try:
            named = FoundImages(place, read_workload(place, classes=file), file)
        except WorkloadError:
            continue
        if _fits(named.workload, widths):
            return named
    if found is None:
        assert failure is not None
        raise failure
    return found


def _fits(workload: Workload, widths: set[int | None]) -> bool:
    return len(workload.classes) in widths or len(workload.classes) + 1 in widths
