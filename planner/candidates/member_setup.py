"""How a member is fed and read: what the specification says, completed by what describes the model
and, where neither tells, by a trial on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trimtab.db import Level
from trimtab.planner.candidates.class_groups import with_job_classes
from trimtab.planner.candidates.output_labels import JobClasses, Notes, with_labels
from trimtab.planner.candidates.output_trials import LabelledTrial
from trimtab.planner.specification.sections import ModelSpec, OutputSpec
from trimtab.variants import (
    ModelDescription,
    ModelFacts,
    Wishes,
    complete_input,
    find_contradictions,
    make_variant,
)
from trimtab.workloads.images.synsets import all_of_imagenet, imagenet_synsets
from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.errors import ModelError


@dataclass(frozen=True)
class MemberSetup:
    """A member's `variant`, with how many `classes` it answers, what is to be told, and the fields
    of its input that were `told`."""

    variant: Variant
    classes: int
    notes: tuple[tuple[Level, str], ...]
    told: frozenset[str]


def wishes_of(model: ModelSpec, classes: int | None, description: ModelDescription) -> Wishes:
    """What is said of a member that its file may leave open, or else describes it."""
    size, colour = model.input.size, model.input.colour
    return Wishes(
        size=(size, size) if isinstance(size, int) else size or description.size,
        layout=model.input.layout,
        channels=None if colour is None else 1 if colour == "gray" else 3,
        output=model.output.name,
        output_index=model.output.index,
        classes=None if model.output.classes else classes,
        signature=model.signature,
    )


def set_up(
    model: ModelSpec,
    path: Path,
    facts: ModelFacts,
    description: ModelDescription,
    classes: JobClasses,
    trial: LabelledTrial | None = None,
) -> MemberSetup:
    """The set-up of a member, whose file at `path` has these facts.

    Without a `trial` a background is taken for one only where the specification or a description
    says so, and a threshold that is to be tuned stays 0.5. Raises ModelError where what is said
    does not fit the file, or something is missing that nothing tells.
    """
    said = complete_input(model.input.model_dump(exclude_none=True), description.sources, facts)
    output = model.output.model_dump(exclude_none=True, exclude={"classes", "mapping"})
    if output.get("threshold") == "tuned":
        output["threshold"] = 0.5
    variant = make_variant(path, facts, said.fields, output, model.label)
    notes: Notes = [("warning", text) for text in description.problems]
    if model.input.size is None and description.size_note:
        notes.append(("info", description.size_note))
    notes += [("info", text) for text in said.notes]
    notes += [("warning", text) for text in said.contradictions]
    notes += [("warning", text) for text in find_contradictions(facts, variant.input, output)]
    if variant.input.fit == "inside":
        own = "x".join(map(str, variant.input.size))
        text = f"its graph brings images of any size to {own} itself, and is fed them as they are"
        notes.append(("info", text))
    variant, count = _outputs(variant, facts, model, description, classes, trial, path, notes)
    if trial is not None and model.output.threshold == "tuned":
        threshold, told = trial.threshold(path, variant)
        variant = replace(variant, output=replace(variant.output, threshold=threshold))
        notes.append(("info", told))
    return MemberSetup(variant, count, tuple(notes), frozenset(said.fields))


def _outputs(
    variant: Variant,
    facts: ModelFacts,
    model: ModelSpec,
    description: ModelDescription,
    classes: JobClasses,
    trial: LabelledTrial | None,
    path: Path,
    notes: Notes,
) -> tuple[Variant, int]:
    """The variant that answers with the job's classes, and how many it answers with."""
    if facts.output_width is None:
        raise ModelError("its number of classes is dynamic; export it with a fixed one")
    said, names = model.output, classes.names
    binary = variant.output.threshold is not None
    if binary and names and len(names) != 2:
        raise ModelError(
            f"the model gives a single score, which tells two classes apart, but the labels "
            f"have {len(names)}"
        )
    named = with_labels(variant, facts.output_width, said, classes, description, notes)
    if named is not None:
        variant = named
    elif "offset" not in said.model_fields_set and _imagenet_behind(facts.output_width, names):
        variant = replace(variant, output=replace(variant.output, offset=1))
        notes.append(("info", "ImageNet's 1000 classes are taken to stand behind a background"))
    elif trial is not None and _may_have_background(facts.output_width, said, classes):
        offset, told = trial.background(path, variant)
        variant = replace(variant, output=replace(variant.output, offset=offset))
        notes.append(("info", told))
    own = 2 if binary else facts.output_width - variant.output.offset
    if named is None:
        variant, told_classes = with_job_classes(variant, own, said, names)
        if binary:
            told_classes = _scored(names, told_classes)
        notes += [("info", told_classes)] if told_classes else []
    groups = variant.output.groups
    return variant, own if groups is None else len(groups)


def _imagenet_behind(width: int, names: Sequence[str]) -> bool:
    """Whether a model has one output more than ImageNet has classes, of which `names` are some."""
    return width == len(imagenet_synsets()) + 1 and all_of_imagenet(names)


def _may_have_background(width: int, said: OutputSpec, classes: JobClasses) -> bool:
    unsaid = not {"offset", "classes", "mapping"} & said.model_fields_set
    return unsaid and not classes.made_up and width == len(classes.names) + 1


def _scored(names: Sequence[str], told: str | None) -> str:
    """What is told of a single score."""
    if told is not None or not names:
        return told or "its one score is taken for that of the second class"
    turned = ", ".join(reversed(names))
    return (
        f"its one score is taken for that of {names[1]}, the second class; where it is that of "
        f"{names[0]}, add output.classes: [{turned}]"
    )


def check_width(setup: MemberSetup, width: int, classes: JobClasses) -> None:
    """Raises ModelError unless a member answers with the job's classes. Names made up from integer
    labels may be fewer than the model's classes."""
    count, names = setup.classes, classes.names
    if not names or count == len(names) or (classes.made_up and count > len(names)):
        return
    hint = "; set output.offset: 1 to drop a background class" if width == len(names) + 1 else ""
    if _imagenet_behind(count, names):
        hint = "; set output.offset: 1 where ImageNet's 1000 classes stand behind a background"
    elif not hint and count > len(names):
        hint = (
            f"; name all {count} in workload.classes, in the order of the outputs (a list, or a "
            "file with one a line), or the model's own in output.classes"
        )
    raise ModelError(f"the model has {count} classes, the labels have {len(names)}{hint}")
