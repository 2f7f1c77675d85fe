"""The user's zoo: what the specification names, as variants in the store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trimtab.db import Level
from trimtab.planner.cache.facts import facts_of
from trimtab.planner.cache.variants import StoredVariant, VariantCache
from trimtab.planner.candidates.class_groups import with_job_classes
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.jobs.steps import ENDS_JOB, one_step
from trimtab.planner.specification.job import JobSpec
from trimtab.planner.specification.sections import ModelSpec
from trimtab.planner.specification.shapes import misfits
from trimtab.variants import (
    SCHEMES,
    ModelFacts,
    Wishes,
    export_in_subprocess,
    find_contradictions,
    make_variant,
)
from trimtab.workloads import Workload
from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.errors import ModelError, PlanningError, TrimtabError


@dataclass(frozen=True)
class Member:
    """An original member, and the quantisation `schemes` that apply to it."""

    built: StoredVariant
    classes: int
    schemes: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.built.member


def load_members(
    spec: JobSpec, builder: VariantCache, workload: Workload, journal: Journal
) -> list[Member]:
    """Every member that can be used; the reason is logged for one that cannot.

    Raises PlanningError when none is left or they do not agree on the number of classes.
    """
    members: list[Member] = []
    problems: list[str] = []
    for position, model in enumerate(spec.models):
        journal.step("members", model.label, position, len(spec.models))
        try:
            with one_step():
                members.append(_load(model, spec, builder, workload, journal))
        except ENDS_JOB:
            raise
        except TrimtabError as error:
            problems.append(f"models[{position}] ({model.label}): {error}")
            journal.note("error", model.label, f"models[{position}]: {error}")
    if not members:
        raise PlanningError(f"no model could be loaded: {'; '.join(problems)}")
    widths = {member.classes for member in members}
    if len(widths) > 1:
        listed = ", ".join(f"{member.name}: {member.classes}" for member in members)
        raise PlanningError(
            f"the models have different numbers of classes ({listed}); declare background "
            "classes with output.offset"
        )
    return members


def _load(
    model: ModelSpec,
    spec: JobSpec,
    builder: VariantCache,
    workload: Workload,
    journal: Journal,
) -> Member:
    if model.torch is None:
        assert model.path is not None
        return _from_file(model, model.path, spec, builder, workload, journal)
    assert model.input.size is not None
    with tempfile.TemporaryDirectory(prefix="trimtab-export-") as folder:
        path = export_in_subprocess(
            model.torch.entry,
            model.torch.arguments,
            model.torch.state,
            model.input.size,
            Path(folder) / f"model.{model.torch.format}",
            channels=1 if model.input.colour == "gray" else 3,
            folder=model.torch.folder,
            limit_s=spec.budget.stall_seconds,
        )
        return _from_file(model, path, spec, builder, workload, journal)


def _from_file(
    model: ModelSpec,
    path: Path,
    spec: JobSpec,
    builder: VariantCache,
    workload: Workload,
    journal: Journal,
) -> Member:
    with tempfile.TemporaryDirectory(prefix="trimtab-view-") as folder:
        stall_s, schemes = spec.budget.stall_seconds, spec.techniques.quantisation
        wishes = wishes_of(model, len(workload.classes) or None)
        view = builder.views.open(path, wishes, Path(folder), stall_s)
        facts = facts_of(builder.store, view.path, wishes.size, stall_s)
        said = model.input.model_dump(exclude_none=True)
        output = model.output.model_dump(exclude_none=True, exclude={"classes", "mapping"})
        variant = make_variant(view.path, facts, said, output, model.label)
        variant, classes, told = _classes(variant, facts, model, workload.classes)
        suits = {name: SCHEMES[name].suits(facts) for name in schemes}
        notes: list[tuple[Level, str]] = [("info", text) for text in (*view.notes, *told)]
        notes += [("warning", text) for text in find_contradictions(facts, variant.input, output)]
        notes += [("warning", f"not to be trusted: {text}") for text in facts.doubts]
        notes += [
            ("info", f"{name} does not apply: {found.reason}")
            for name, found in suits.items()
            if not found
        ]
        for level, text in notes:
            journal.note(level, model.label, text)
        built = builder.member(variant, view, model.torch.entry if model.torch else None)
    return Member(built, classes, tuple(name for name, found in suits.items() if found))


def wishes_of(model: ModelSpec, classes: int | None) -> Wishes:
    """What is said of a member that its file may leave open."""
    size, colour = model.input.size, model.input.colour
    return Wishes(
        size=(size, size) if isinstance(size, int) else size,
        layout=model.input.layout,
        channels=None if colour is None else 1 if colour == "gray" else 3,
        output=model.output.name,
        output_index=model.output.index,
        classes=None if model.output.classes else classes,
    )


def _classes(
    variant: Variant, facts: ModelFacts, model: ModelSpec, names: Sequence[str]
) -> tuple[Variant, int, Sequence[str]]:
    """The variant with the classes of the job, how many classes it answers with, and what is to be
    told. Raises ModelError where the classes are not known or not those of the labels."""
    if facts.output_width is None:
        raise ModelError("its number of classes is dynamic; export it with a fixed one")
    if variant.output.threshold is not None:
        if names and len(names) != 2:
            raise ModelError(
                f"the model gives a single score, which tells two classes apart, but the labels "
                f"have {len(names)}"
            )
        variant, told = with_job_classes(variant, 2, model.output, names)
        return variant, 2, (_scored(model, names, told),)
    own = facts.output_width - variant.output.offset
    variant, told = with_job_classes(variant, own, model.output, names)
    classes = own if variant.output.groups is None else len(variant.output.groups)
    _check_width(classes, facts.output_width, names)
    return variant, classes, (told,) if told else ()


def _scored(model: ModelSpec, names: Sequence[str], told: str | None) -> str:
    """What is told of a single score."""
    if told is not None or not names:
        return told or "its one score is taken for that of the second class"
    turned = ", ".join(reversed(names))
    return (
        f"its one score is taken for that of {names[1]}, the second class; where it is that of "
        f"{names[0]}, add output.classes: [{turned}]"
    )


def _check_width(classes: int, width: int, names: Sequence[str]) -> None:
    """Names made up from integer labels may be fewer than the model's classes."""
    made_up = list(names) == [str(index) for index in range(len(names))]
    if not names or classes == len(names) or (made_up and classes > len(names)):
        return
    hint = "; set output.offset: 1 to drop a background class" if width == len(names) + 1 else ""
    if not hint and classes > len(names):
        hint = (
            f"; name all {classes} in workload.classes, in the order of the outputs (a list, or a "
            "file with one a line)"
        )
    raise ModelError(f"the model has {classes} classes, the labels have {len(names)}{hint}")


def squashed(
    spec: JobSpec, members: Sequence[Member], images: Mapping[tuple[int, int], int]
) -> Iterator[tuple[str, str]]:
    """A member's name and a warning, for every member whose specification says nothing of `fit`
    although `images` (how many have which width and height) have another shape than its input."""
    unsaid = {model.label for model in spec.models if model.input.fit is None}
    total = sum(images.values())
    for member in members:
        size = member.built.variant.input.size
        others = misfits(images, size)
        if member.name in unsaid and others:
            yield (
                member.name,
                f"{others.total()} of {total} images are of another shape than the input "
                f"({next(iter(others))}, the input {size[1]}x{size[0]}) and are squashed into it, "
                "as nothing is said of input.fit; say squash, crop or pad, as in training",
            )
