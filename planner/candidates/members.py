"""The user's zoo: what the specification names, as variants in the store."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trimtab.planner.cache.facts import facts_of
from trimtab.planner.cache.variants import StoredVariant, VariantCache
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.specification.job import JobSpec
from trimtab.planner.specification.sections import BudgetSpec, ModelSpec
from trimtab.variants import SCHEMES, export_module, make_variant
from trimtab.workloads import Workload
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
            members.append(_load(model, spec.budget, builder, workload, journal))
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
    size = model.input.size
    pixels = (size, size) if isinstance(size, int) else size
    facts = facts_of(builder.store, path, pixels, budget.stall_seconds)
    said = model.input.model_dump(exclude_none=True)
    output = model.output.model_dump(exclude_none=True)
    variant = make_variant(path, facts, said, output, model.label)
    if facts.output_width is None:
        raise ModelError("its number of classes is dynamic; export it with a fixed one")
    classes = facts.output_width - variant.output.offset
    _check_width(classes, facts.output_width, workload.classes)
    suits = {name: scheme.suits(facts) for name, scheme in SCHEMES.items()}
    for name, found in suits.items():
        if not found:
            journal.note("info", model.label, f"{name} does not apply: {found.reason}")
    schemes = tuple(name for name, found in suits.items() if found)
    built = builder.member(variant, path, model.torch.entry if model.torch else None)
    return Member(built, classes, schemes)


def _check_width(classes: int, width: int, names: Sequence[str]) -> None:
    """Names made up from integer labels may be fewer than the model's classes."""
    made_up = list(names) == [str(index) for index in range(len(names))]
    if not names or classes == len(names) or (made_up and classes > len(names)):
        return
    hint = "; set output.offset: 1 to drop a background class" if width == len(names) + 1 else ""
    raise ModelError(f"the model has {classes} classes, the labels have {len(names)}{hint}")
