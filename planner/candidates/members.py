"""The user's zoo: what the specification names, as variants in the store."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trimtab.db import Level
from trimtab.planner.cache.variants import StoredVariant, VariantCache
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.specification.job import JobSpec
from trimtab.planner.specification.sections import BudgetSpec, ModelSpec
from trimtab.variants import (
    ModelFacts,
    Wishes,
    export_module,
    find_contradictions,
    inspect_in_subprocess,
    make_variant,
    quantisable,
)
from trimtab.workloads import Workload
from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.errors import ModelError, PlanningError, TrimtabError


@dataclass(frozen=True)
class Member:
    """A member as it came, and whether w8a8 applies to it."""

    built: StoredVariant
    classes: int
    quantisable: bool

    @property
    def name(self) -> str:
        return self.built.member


def load_members(
    spec: JobSpec, builder: VariantCache, workload: Workload, journal: Journal
) -> list[Member]:
    """Every member that can be used; one that cannot is noted, with its reason.

    Raises PlanningError when none is left or they do not agree on the number of classes.
    """
    members: list[Member] = []
    for position, model in enumerate(spec.models):
        journal.step("members", model.label, position, len(spec.models))
        try:
            members.append(_load(model, spec.budget, builder, workload, journal))
        except TrimtabError as error:
            journal.note("error", model.label, f"models[{position}]: {error}")
    if not members:
        raise PlanningError("no member can be used; the reasons are noted above, one a member")
    widths = {member.classes for member in members}
    if len(widths) > 1:
        listed = ", ".join(f"{member.name}: {member.classes}" for member in members)
        raise PlanningError(
            f"the members answer with different numbers of classes ({listed}); background "
            "classes are declared with output.offset"
        )
    return members


def _load(
    model: ModelSpec,
    budget: BudgetSpec,
    builder: VariantCache,
    workload: Workload,
    journal: Journal,
) -> Member:
    if model.torch is None:
        assert model.path is not None
        return _from_file(model, model.path, budget, builder, workload, journal)
    assert model.input.size is not None
    with tempfile.TemporaryDirectory(prefix="trimtab-export-") as folder:
        path = export_module(
            model.torch.entry,
            model.torch.arguments,
            model.torch.state,
            model.input.size,
            Path(folder) / f"model.{model.torch.format}",
            channels=1 if model.input.colour == "gray" else 3,
            folder=model.torch.folder,
        )
        return _from_file(model, path, budget, builder, workload, journal)


def _from_file(
    model: ModelSpec,
    path: Path,
    budget: BudgetSpec,
    builder: VariantCache,
    workload: Workload,
    journal: Journal,
) -> Member:
    with tempfile.TemporaryDirectory(prefix="trimtab-view-") as folder:
        wishes = wishes_of(model, len(workload.classes) or None)
        view = builder.views.open(path, wishes, Path(folder), budget.stall_seconds)
        facts = inspect_in_subprocess(view.path, wishes.size, budget.stall_seconds)
        said = model.input.model_dump(exclude_none=True)
        output = model.output.model_dump(exclude_none=True)
        variant = make_variant(view.path, facts, said, output, model.label)
        classes = _classes(variant, facts, workload.classes)
        suitable = quantisable(facts)
        notes: list[tuple[Level, str]] = [("info", text) for text in view.notes]
        notes += [("warning", text) for text in find_contradictions(facts, said, output)]
        notes += [("warning", f"not to be trusted: {text}") for text in facts.doubts]
        if not suitable:
            notes.append(("info", f"w8a8 does not apply: {suitable.reason}"))
        for level, text in notes:
            journal.note(level, model.label, text)
        source = {"step": "member", **({"torch": model.torch.entry} if model.torch else {})}
        built = builder.member(model.label, variant, view, source)
    return Member(built, classes, bool(suitable))


def wishes_of(model: ModelSpec, classes: int | None) -> Wishes:
    """What is said of a member that its file may leave open."""
    size, colour = model.input.size, model.input.colour
    return Wishes(
        size=(size, size) if isinstance(size, int) else size,
        layout=model.input.layout,
        channels=None if colour is None else 1 if colour == "gray" else 3,
        output=model.output.name,
        output_index=model.output.index,
        classes=classes,
    )


def _classes(variant: Variant, facts: ModelFacts, names: Sequence[str]) -> int:
    """How many classes the variant answers with. Raises ModelError where they are not known or
    not those of the labels."""
    if facts.output_width is None:
        raise ModelError("the file leaves its number of classes open")
    if variant.output.threshold is not None:
        if names and len(names) != 2:
            raise ModelError(
                f"the model gives a single score, which tells two classes apart, but the labels "
                f"have {len(names)}"
            )
        return 2
    classes = facts.output_width - variant.output.offset
    _check_width(classes, facts.output_width, names)
    return classes


def _check_width(classes: int, width: int, names: Sequence[str]) -> None:
    """Names made up from integer labels may be fewer than the model's classes."""
    made_up = list(names) == [str(index) for index in range(len(names))]
    if not names or classes == len(names) or (made_up and classes > len(names)):
        return
    hint = "; output.offset: 1 drops a background class" if width == len(names) + 1 else ""
    if not hint and classes > len(names):
        hint = (
            f"; name all {classes} in workload.classes, in the order of the outputs (a list, or a "
            "file with one a line)"
        )
    raise ModelError(
        f"the model answers with {classes} classes, the labels have {len(names)}{hint}"
    )
