"""A starter specification for a folder of models and images: what the files tell, and marked
guesses for the rest."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trimtab.planner.specification.found_model import OPEN_SIZE, FoundModel, Values
from trimtab.planner.specification.job import load_spec
from trimtab.planner.specification.template import FoundImages, notices_of, starter_text
from trimtab.planner.specification.yaml_text import GUESS
from trimtab.variants import (
    CompletedInput,
    ModelFacts,
    Wishes,
    complete_input,
    describe_in_subprocess,
    inspect_in_subprocess,
    make_variant,
    open_and_inspect_in_subprocess,
)
from trimtab.workloads import Workload, read_workload
from trimtab.workloads.images.files import (
    NO_SUFFIX,
    files_below,
    image_suffixes,
    left_out_text,
)
from trimtab.workloads.images.split_folders import split_called
from trimtab.workloads.images.synsets import all_of_imagenet, imagenet_synsets
from trimtab_runtime.errors import SpecificationError, TrimtabError, WorkloadError
from trimtab_runtime.images.preprocess import decode_image

_MODEL_SUFFIXES = (".onnx", ".tflite")
#: Images whose shape is looked at.
_LOOKED_AT = 24
_CLASS_FILES = ("classes.txt", "labels.txt", "class_names.txt")


@dataclass(frozen=True)
class Starter:
    """What was written: a summary in one line, the number of guesses, what was left out, and what
    must be known of the images."""

    text: str
    summary: str
    guesses: int
    problems: tuple[str, ...]
    notices: tuple[str, ...] = ()


#: Tries models on images, and replaces guesses by what answers best.
Proposer = Callable[[Sequence[FoundModel], FoundImages], None]


def write_starter(folder: Path, output: Path, propose: Proposer | None = None) -> Starter:
    """Write a specification for all models and images below `folder` to `output`.

    Guesses are replaced by what `propose` finds. Raises SpecificationError where there are none or
    the file cannot be written, WorkloadError where the images fit no layout.
    """
    if not folder.is_dir():
        raise SpecificationError(f"{folder}: not a folder; give the one with models and images")
    with tempfile.TemporaryDirectory(prefix="trimtab-view-") as views:
        return _written(folder, output, Path(views), propose)


def _written(folder: Path, output: Path, views: Path, propose: Proposer | None) -> Starter:
    files = _files(folder)
    paths = [file for file in files if file.suffix.lower() in _MODEL_SUFFIXES]
    models, problems = _read_models(paths, views)
    if not models:
        problem = f": {problems[0]}" if problems else ""
        raise SpecificationError(f"{folder}: no usable .onnx or .tflite model below it{problem}")
    images = _find_images(folder, files, {model.classes for model in models})
    images.shapes = _shapes(images.workload)
    for model in models:
        model.find_classes(images.workload.classes)
    _propose_offsets(models, images.workload)
    if propose is not None:
        try:
            propose(models, images)
        except TrimtabError as error:
            problems.append(f"nothing was tried on the images: {error}")
    problems += images.problems
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
    notices = tuple(notices_of(images.workload))
    return Starter(text, summary, text.count(GUESS), tuple(problems), notices)


def _files(folder: Path) -> list[Path]:
    """Files below a folder, as the reader of images finds them; stores and environments are not
    entered."""

    def enter(entry: os.DirEntry[str]) -> bool:
        ours = entry.name in ("trimtab-store", "node_modules", "__pycache__")
        return not ours and not (Path(entry.path) / "pyvenv.cfg").exists()

    return [folder / name for name in files_below(folder, Counter(), enter)]


# ---- models ----------------------------------------------------------------------------------


def _read_models(paths: Sequence[Path], views: Path) -> tuple[list[FoundModel], list[str]]:
    stems = Counter(path.stem for path in paths)
    taken: set[str] = set()
    models, problems = [], []
    for number, path in enumerate(paths):
        name, place = None, views / str(number)
        place.mkdir()
        if stems[path.stem] > 1:
            name = _free_name(f"{path.stem}-{path.suffix[1:].lower()}", taken)
        try:
            models.append(_read_model(path, name, place))
        except TrimtabError as error:
            problems.append(str(error) if path.name in str(error) else f"{path.name}: {error}")
    return models, problems


def _free_name(name: str, taken: set[str]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    taken.add(found)
    return found


def _read_model(path: Path, name: str | None, place: Path) -> FoundModel:
    """A model with what describes it; its view lies in `place`."""
    description = describe_in_subprocess(path)
    view, known = open_and_inspect_in_subprocess(path, place, Wishes(size=description.size))
    view.check_single(path.name)
    facts = known or inspect_in_subprocess(view.path)
    size = None if facts.input_size or facts.inner_size else OPEN_SIZE
    if facts.input_size is None:
        facts = inspect_in_subprocess(view.path, facts.inner_size or size)
    read = complete_input({}, description.sources, facts)
    told = [text for text in (*read.contradictions, *description.problems) if text]
    notes = (
        *view.notes,
        *(f"CHECK: {text}" for text in told),
        *(f"NOT TO BE TRUSTED: {text}" for text in facts.doubts),
    )
    failure: TrimtabError | None = None
    for guess in _guesses(facts, read):
        model = FoundModel(path, name, facts, size, guess, notes, view=view.path)
        model.describe(description, read)
        try:
            make_variant(view.path, facts, model.input, {}, path.stem)
        except TrimtabError as error:
            failure = failure or error
        else:
            return model
    assert failure is not None
    raise failure


def _guesses(facts: ModelFacts, read: CompletedInput) -> Sequence[tuple[Values, Values] | None]:
    """Mean and std to try, None for what the file itself tells."""
    if "mean" in read.fields:
        return [(read.fields["mean"], read.fields["std"])]
    return (None, (127.5, 127.5) if facts.dtype.startswith("float") else (0.0, 255.0), (0.0, 1.0))


def _propose_offsets(models: Sequence[FoundModel], workload: Workload) -> None:
    """One output more than there are classes (or than most other models have) is background."""
    known = len(workload.classes)
    if all_of_imagenet(workload.classes):  # a model of all classes is restricted to these
        known = len(imagenet_synsets())
    widths = {model.facts.output_width for model in models}
    for model in models:
        width = model.facts.output_width or 0
        if width < 3 or model.fit is not None:
            continue
        if width - 1 == known or (width != known and width - 1 in widths):
            model.offset = 1


# ---- images ----------------------------------------------------------------------------------


def _find_images(folder: Path, files: Sequence[Path], widths: set[int | None]) -> FoundImages:
    """The folder that reads best as a workload: with a labels.csv, else with a folder per class.
    Where there is neither, the one with most images.

    A folder that looks like one and cannot be read as one is told with its reason. Raises that
    reason where nothing else can be read: images without labels are no way out.
    """
    counts = Counter(f.parent for f in files if f.suffix.lower() in image_suffixes())
    if not counts:
        raise SpecificationError(_no_images(folder, files))
    class_files = [file for file in files if file.name in _CLASS_FILES]
    labelled = _labelled_folders(folder, files, counts)
    failures: dict[Path, WorkloadError] = {}
    for place in labelled:
        try:
            found = _read_images(place, class_files, widths)
        except WorkloadError as error:
            failures[place] = error
            continue
        rest = [other for other in labelled if not other.is_relative_to(place)]
        found.others += [other for other in rest if other not in failures]
        found.problems += [str(error) for error in failures.values()]
        return found
    if failures:
        raise next(iter(failures.values()))
    return _read_images(counts.most_common(1)[0][0], class_files, widths)


def _labelled_folders(
    folder: Path, files: Sequence[Path], counts: Mapping[Path, int]
) -> list[Path]:
    """Folders that seem to have labels, the likeliest first: with a table; with folders of splits
    or of classes, by their images."""
    tables = [file.parent for file in files if file.name == "labels.csv"]
    inner = Counter(place.parent for place in counts if place != folder)
    sizes = {p: sum(n for place, n in counts.items() if place.parent == p) for p in inner}
    classes = {place for place, folders in inner.items() if folders > 1}
    roots = {_root_of_splits(place, classes | set(counts)) or place for place in classes}
    tables = [_root_of_splits(place, set(tables)) or place for place in tables]
    total = {root: sum(n for p, n in sizes.items() if p.is_relative_to(root)) for root in roots}
    by_size = sorted(roots, key=lambda place: (place in counts, -total[place]))
    return list(dict.fromkeys([*tables, *by_size]))


def _root_of_splits(place: Path, others: Set[Path]) -> Path | None:
    """The folder above `place`, where that and another one in it are called like splits."""
    beside = {p.name.lower() for p in others if p.parent == place.parent} | {place.name.lower()}
    roles = {split for name in beside if (split := split_called(name))}
    return place.parent if split_called(place.name) and len(roles) > 1 else None


def _no_images(folder: Path, files: Sequence[Path]) -> str:
    kinds = Counter(file.suffix.lower() or NO_SUFFIX for file in files)
    found = f"; found {left_out_text(kinds)}" if kinds else ""
    return f"{folder}: no images below it ({' '.join(image_suffixes())}){found}"


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


def _shapes(workload: Workload) -> Counter[tuple[int, int]]:
    """Width and height of some images, evenly spread; a job looks at all, and tells what cannot be
    read."""
    found: Counter[tuple[int, int]] = Counter()
    for item in workload.items[:: max(1, len(workload) // _LOOKED_AT)]:
        with suppress(WorkloadError):
            found[decode_image(item.path).size] += 1
    return found


def _fits(workload: Workload, widths: set[int | None]) -> bool:
    return len(workload.classes) in widths or len(workload.classes) + 1 in widths
