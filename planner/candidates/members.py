"""The user's zoo: what the specification names, as variants in the store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trimtab.db import Level
from trimtab.planner.cache.facts import facts_of
from trimtab.planner.cache.variants import StoredVariant, VariantCache
from trimtab.planner.candidates.exported import compared, exported_member
from trimtab.planner.candidates.member_setup import check_width, set_up, wishes_of
from trimtab.planner.candidates.output_labels import JobClasses
from trimtab.planner.candidates.output_trials import LabelledTrial
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.jobs.steps import ENDS_JOB, one_step
from trimtab.planner.specification.job import JobSpec
from trimtab.planner.specification.sections import ModelSpec
from trimtab.planner.specification.shapes import misfits
from trimtab.variants import (
    SCHEMES,
    ExportedModule,
    describe_in_subprocess,
    size_text,
    sizes_in_subprocess,
    why_one_size,
)
from trimtab.workloads import Item, Workload
from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.errors import PlanningError, TrimtabError

Size = tuple[int, int]


@dataclass(frozen=True)
class Member:
    """An original member, the quantisation `schemes` that apply to it, the fields of its input
    that were `told`, by the specification or what describes it, and the other `sizes` (height,
    width) that it is tried with."""

    built: StoredVariant
    classes: int
    schemes: tuple[str, ...]
    told: frozenset[str] = frozenset()
    sizes: tuple[Size, ...] = ()

    @property
    def name(self) -> str:
        return self.built.member


def load_members(
    spec: JobSpec,
    builder: VariantCache,
    workload: Workload,
    journal: Journal,
    trial: LabelledTrial | None = None,
    images: Sequence[Item] = (),
) -> list[Member]:
    """Every member that can be used; the reason is logged for one that cannot. What only labelled
    images tell is found by a `trial`; on `images`, PyTorch modules are held against the files that
    they are exported to.

    Raises PlanningError when none is left or they do not agree on the number of classes.
    """
    loader = _Loader(spec, builder, workload, journal, trial, images)
    members: list[Member] = []
    problems: list[str] = []
    for position, model in enumerate(spec.models):
        journal.step("members", model.label, position, len(spec.models))
        try:
            with one_step():
                members.append(loader.load(model))
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


@dataclass(frozen=True)
class _Loader:
    """Loads the members of a job."""

    spec: JobSpec
    builder: VariantCache
    workload: Workload
    journal: Journal
    trial: LabelledTrial | None
    images: Sequence[Item]

    def load(self, model: ModelSpec) -> Member:
        """A member as a variant in the store. Raises the TrimtabError of what is wrong with it."""
        if model.torch is None:
            assert model.path is not None
            return self._from_file(model, model.path)
        with (
            tempfile.TemporaryDirectory(prefix="trimtab-export-") as folder,
            exported_member(model, Path(folder)) as exported,
        ):
            return self._from_file(model, exported.path, exported)

    def _from_file(
        self, model: ModelSpec, path: Path, module: ExportedModule | None = None
    ) -> Member:
        classes = JobClasses(self.workload.classes, self.spec.workload.classes is not None)
        description = describe_in_subprocess(path, self.spec.budget.stall_seconds)
        stall_s = self.spec.budget.stall_seconds
        with tempfile.TemporaryDirectory(prefix="trimtab-view-") as folder:
            wishes = wishes_of(model, len(classes.names) or None, description)
            view = self.builder.views.open(path, wishes, Path(folder), stall_s)
            facts = facts_of(self.builder.store, view.path, wishes.size, stall_s)
            if facts.inner_size is not None and wishes.size is None:
                facts = facts_of(self.builder.store, view.path, facts.inner_size, stall_s)
            setup = set_up(model, view.path, facts, description, classes, self.trial)
            check_width(setup, facts.output_width or 0, classes)
            wanted = self.spec.techniques.quantisation
            suits = {name: SCHEMES[name].suits(facts) for name in wanted}
            notes: list[tuple[Level, str]] = [("info", text) for text in view.notes]
            notes += setup.notes
            if module is not None:
                notes += compared(module, view.path, setup.variant, self.images)
            notes += [("warning", f"not to be trusted: {text}") for text in facts.doubts]
            notes += [
                ("info", f"{name} does not apply: {found.reason}")
                for name, found in suits.items()
                if not found
            ]
            for level, text in notes:
                self.journal.note(level, model.label, text)
            entry = model.torch.entry if model.torch else None
            built = self.builder.member(setup.variant, view, entry)
            sizes = self._sizes(model, view.path, setup.variant)
        schemes = tuple(name for name, found in suits.items() if found)
        return Member(built, setup.classes, schemes, setup.told, sizes)

    def _sizes(self, model: ModelSpec, path: Path, variant: Variant) -> tuple[Size, ...]:
        """The sizes that it runs with, of those that are asked for; why not the others is said."""
        asked = self.spec.sizes_of(model)
        if asked == ():
            return ()
        why = why_one_size(variant)
        if why:
            self.journal.note("info", model.label, f"keeps its input size: {why}")
            return ()
        stall_s = self.spec.budget.stall_seconds
        tried = sizes_in_subprocess(path, variant, asked, stall_s)
        for trial in tried:
            if trial.reason:
                text = f"cannot take images of {size_text(trial.size)} pixels: {trial.reason}"
                self.journal.note("info" if asked is None else "warning", model.label, text)
        return tuple(trial.size for trial in tried if not trial.reason)


def squashed(
    members: Sequence[Member], images: Mapping[tuple[int, int], int]
) -> Iterator[tuple[str, str]]:
    """A member's name and a warning, for every member of which nothing tells `fit`, although
    `images` (how many have which width and height) have another shape than its input."""
    total = sum(images.values())
    for member in members:
        size = member.built.variant.input.size
        others = misfits(images, size)
        fitted = "fit" in member.told or member.built.variant.input.fit == "inside"
        if others and not fitted:
            yield (
                member.name,
                f"{others.total()} of {total} images are of another shape than the input "
                f"({next(iter(others))}, the input {size[1]}x{size[0]}) and are squashed into it, "
                "as nothing is said of input.fit; say squash, crop or pad, as in training",
            )
