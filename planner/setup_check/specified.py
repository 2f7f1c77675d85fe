"""The check of a specification by itself: no store, no device, nothing is measured."""

from __future__ import annotations

import tempfile
from pathlib import Path

from trimtab.planner.candidates.members import job_classes, wishes_of
from trimtab.planner.jobs.dataset import load_dataset
from trimtab.planner.setup_check.images import check_labels, checked_images
from trimtab.planner.setup_check.isolated import check_in_subprocess
from trimtab.planner.setup_check.records import CheckedMember, CheckRequest, SetupCheck
from trimtab.planner.specification.job import JobSpec
from trimtab.planner.specification.sections import ModelSpec
from trimtab.variants import (
    export_module,
    find_contradictions,
    inspect_in_subprocess,
    make_variant,
    open_and_inspect_in_subprocess,
)
from trimtab.workloads import Workload


def check_specification(spec: JobSpec) -> SetupCheck:
    """Try the set-ups of all members that a specification names. Raises WorkloadError, ModelError,
    and what a specification's metrics raise."""
    workload, splits = load_dataset(spec)
    items = checked_images(workload, splits)
    with tempfile.TemporaryDirectory(prefix="trimtab-check-") as folder:
        members = [
            _member(model, Path(folder) / f"member{number}", workload, spec.budget.stall_seconds)
            for number, model in enumerate(spec.models)
        ]
        request = CheckRequest(
            tuple(members),
            tuple(str(item.path) for item in items),
            check_labels(items),
            workload.classes,
            stall_s=spec.budget.stall_seconds,
        )
        return check_in_subprocess(request)


def _member(model: ModelSpec, place: Path, workload: Workload, stall_s: float) -> CheckedMember:
    """A member as a file, read as a job reads it; a module is exported to `place`."""
    path, torch, size = model.path, model.torch, model.input.size
    place.mkdir()
    if torch is not None:
        assert size is not None
        path = export_module(
            torch.entry,
            torch.arguments,
            torch.state,
            size,
            place / f"exported.{torch.format}",
            channels=1 if model.input.colour == "gray" else 3,
            folder=torch.folder,
        )
    assert path is not None
    wishes = wishes_of(model, len(workload.classes) or None)
    view, told = open_and_inspect_in_subprocess(path, place, wishes, stall_s)
    facts = told or inspect_in_subprocess(view.path, wishes.size, stall_s)
    said = model.input.model_dump(exclude_none=True)
    output = model.output.model_dump(exclude_none=True, exclude={"classes", "mapping"})
    variant = make_variant(view.path, facts, said, output, model.label)
    variant, classes, _ = job_classes(variant, facts, model, workload.classes)
    doubts = (*facts.doubts, *find_contradictions(facts, variant.input, output))
    width = classes + variant.output.offset
    return CheckedMember(model.label, str(view.path), variant, width, doubts)
