"""The check of a specification by itself: no store, no device, nothing is measured."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from trimtab.planner.jobs.dataset import load_dataset
from trimtab.planner.setup_check.images import check_labels, checked_images
from trimtab.planner.setup_check.isolated import check_in_subprocess
from trimtab.planner.setup_check.records import CheckedMember, CheckRequest, SetupCheck
from trimtab.planner.specification.job import JobSpec
from trimtab.planner.specification.sections import ModelSpec
from trimtab.variants import export_in_subprocess, inspect_in_subprocess, make_variant
from trimtab_runtime.errors import ModelError


def check_specification(spec: JobSpec) -> SetupCheck:
    """Try the set-ups of all members that a specification names. Raises WorkloadError, ModelError,
    and what a specification's metrics raise."""
    workload, splits = load_dataset(spec)
    items = checked_images(workload, splits)
    with tempfile.TemporaryDirectory(prefix="trimtab-check-") as folder:
        members = [
            _member(model, Path(folder) / f"member{number}", workload.classes)
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


def _member(model: ModelSpec, place: Path, classes: Sequence[str]) -> CheckedMember:
    """A member as a file; a module is exported to `place`."""
    path, torch, size = model.path, model.torch, model.input.size
    if torch is not None:
        assert size is not None
        path = export_in_subprocess(
            torch.entry,
            torch.arguments,
            torch.state,
            size,
            place.with_suffix(f".{torch.format}"),
            channels=1 if model.input.colour == "gray" else 3,
            folder=torch.folder,
        )
    assert path is not None
    facts = inspect_in_subprocess(path, (size, size) if isinstance(size, int) else size)
    said = model.input.model_dump(exclude_none=True)
    variant = make_variant(
        path, facts, said, model.output.model_dump(exclude_none=True), model.label
    )
    width = facts.output_width or 0
    if width - variant.output.offset < len(classes):
        raise ModelError(
            f"{model.label}: answers with {width - variant.output.offset} classes, the labels "
            f"have {len(classes)}"
        )
    return CheckedMember(model.label, str(path), variant, width)
