"""A shipped plan made anew: its structure with the models that a specification names now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnxruntime

from trimtab.db import Store
from trimtab.planner.bundles.archive import BundleParts, write_bundle
from trimtab.planner.cache.variants import StoredVariant, VariantCache
from trimtab.planner.candidates.members import load_members
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.setup_check.images import labelled_trial
from trimtab.planner.specification.job import JobSpec
from trimtab.profilers import Device
from trimtab.variants import SCHEMES
from trimtab.workloads import Item, Splits, Workload
from trimtab_runtime.bundles.archive import open_bundle
from trimtab_runtime.bundles.manifest import ARRAYS_FOLDER, MODELS_FOLDER, Manifest
from trimtab_runtime.definitions.plan import OperatingPoint, PlanDefinition, Variant
from trimtab_runtime.errors import PlanningError, SpecificationError

#: Images that golden ones are chosen from.
_GOLDEN = 24


@dataclass(frozen=True)
class Rebuilder:
    """Makes plans anew for a device. `fit` are the images that quantisation is calibrated on."""

    spec: JobSpec
    store: Store
    device: Device
    fingerprint: Mapping[str, str]
    journal: Journal
    workload: Workload
    splits: Splits
    fit: Sequence[Item]

    def rebuild(self, shipped: Path, target: Path) -> tuple[Path, tuple[str, ...]]:
        """The bundle, and what is another in it than in the one that was shipped: thresholds and
        options stay. Raises SpecificationError where a model of the plan is not in the
        specification, and PlanningError where a changed one needs what was fitted to the old."""
        manifest, folder = open_bundle(str(shipped))
        made = self._variants(manifest)
        changed = {old.sha256 for old in manifest.variants if _differs(old, made[old.sha256])}
        _check_fitted(manifest, changed)
        structure = manifest.structure
        stages = tuple(
            replace(stage, variant=made[stage.variant].variant.sha256)
            for stage in structure.stages
        )
        point = manifest.points[manifest.point]
        files = _files_of(manifest, folder)
        parts = BundleParts(
            name=manifest.name,
            definition=PlanDefinition(
                replace(structure, stages=stages), point.thresholds, point.exits, point.price
            ),
            points=[_without_figures(known) for known in manifest.points],
            variants={new.variant.sha256: new.variant for new in made.values()},
            models={new.variant.sha256: new.path for new in made.values()},
            labels=manifest.labels,
            images=[item.path for item in self.fit[:_GOLDEN]],
            fingerprint=self.fingerprint,
            files=files,
            largest_pixels=manifest.largest_pixels,
        )
        told = tuple(made[old].variant.name for old in made if old in changed)
        return write_bundle(parts, target), told

    def _variants(self, manifest: Manifest) -> dict[str, StoredVariant]:
        """By the sha256 of each shipped variant, what takes its place."""
        names = {v.sha256: self._member_of(v) for v in manifest.variants}
        wanted = {member for member, _ in names.values()}
        models = tuple(model for model in self.spec.models if model.label in wanted)
        cache = VariantCache(
            self.store,
            self.journal,
            self.fit,
            self.spec.budget.stall_seconds,
            device=self.device,
            engine=self.fingerprint.get("onnxruntime", onnxruntime.__version__),
        )
        trial = labelled_trial(self.spec, self.workload, self.splits, self.journal.alive)
        own = self.spec.model_copy(update={"models": models})
        members = {m.name: m for m in load_members(own, cache, self.workload, self.journal, trial)}
        found = {}
        for variant in manifest.variants:
            name, scheme = names[variant.sha256]
            if name not in members:
                raise PlanningError(f"{name}: could not be loaded; the reason is noted above")
            member = members[name]
            if member.classes != len(manifest.labels):
                raise PlanningError(
                    f"{name} answers {member.classes} classes, and the shipped plan "
                    f"{len(manifest.labels)}"
                )
            built = member.built
            found[variant.sha256] = cache.quantised(built, scheme) if scheme else built
        return found

    def _member_of(self, variant: Variant) -> tuple[str, str]:
        """The member that a variant was made of, and the scheme ('' for none)."""
        for model in self.spec.models:
            if variant.name == model.label:
                return model.label, ""
            scheme = variant.name.removeprefix(f"{model.label} ")
            if scheme in SCHEMES:
                return model.label, scheme
        known = ", ".join(model.label for model in self.spec.models)
        raise SpecificationError(
            f"the shipped plan runs {variant.name!r}, which cannot be made anew of the models of "
            f"this specification ({known}); plan them (`trimtab plan`), and check the result: "
            "`--candidate chosen`"
        )


def _differs(old: Variant, new: StoredVariant) -> bool:
    """Whether it is another file, or is fed or read in another way."""
    found = new.variant
    return (old.sha256, old.input, old.output) != (found.sha256, found.input, found.output)


def _check_fitted(manifest: Manifest, changed: set[str]) -> None:
    """Raises PlanningError where a model has changed that something was fitted to."""
    fitted = "a router" if manifest.structure.router and changed else ""
    for stage in manifest.structure.stages:
        if stage.variant in changed and stage.exits:
            fitted = "early exits"
        elif stage.variant in changed and stage.scorer:
            fitted = "a learned confidence"
    if fitted:
        names = ", ".join(v.name for v in manifest.variants if v.sha256 in changed)
        raise PlanningError(
            f"the shipped plan has {fitted}, fitted to models that have changed ({names}); plan "
            "the new ones (`trimtab plan`), and check the result: `--candidate chosen`"
        )


def _files_of(manifest: Manifest, folder: Path) -> dict[str, Path]:
    """The files beside whole models, by their sha256."""
    own = (f"{MODELS_FOLDER}/", f"{ARRAYS_FOLDER}/")
    return {sha: folder / name for name, sha in manifest.files.items() if name.startswith(own)}


def _without_figures(point: OperatingPoint) -> OperatingPoint:
    """What was estimated for the shipped models is not known of others."""
    return replace(point, metrics={})
