"""The check of a specification by itself: no store, no device, nothing is measured."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from trimtab.planner.candidates.exported import exported_member
from trimtab.planner.candidates.member_setup import check_width, set_up, wishes_of
from trimtab.planner.candidates.output_labels import JobClasses
from trimtab.planner.jobs.dataset import load_dataset
from trimtab.planner.setup_check.images import check_labels, checked_images
from trimtab.planner.setup_check.isolated import check_in_subprocess
from trimtab.planner.setup_check.records import (
    CheckedMember,
    CheckRequest,
    MemberCheck,
    SetupCheck,
)
from trimtab.planner.specification.job import JobSpec
from trimtab.planner.specification.sections import ModelSpec
from trimtab.variants import (
    describe_in_subprocess,
    inspect_in_subprocess,
    open_and_inspect_in_subprocess,
)
from trimtab_runtime.errors import ModelError, TrimtabError


def check_specification(spec: JobSpec) -> SetupCheck:
    """Try the set-ups of all members that a specification names; one that is refused is told with
    its reason. Raises WorkloadError, and where all are refused what the first one raises."""
    workload, splits = load_dataset(spec)
    items = checked_images(workload, splits)
    classes = JobClasses(workload.classes, spec.workload.classes is not None)
    with tempfile.TemporaryDirectory(prefix="trimtab-check-") as folder:
        found, refused, errors = [], dict[int, MemberCheck](), list[TrimtabError]()
        for number, model in enumerate(spec.models):
            place = Path(folder) / f"member{number}"
            place.mkdir()
            try:
                found.append(_member(model, place, classes, spec.budget.stall_seconds))
            except TrimtabError as error:
                errors.append(error)
                refused[number] = MemberCheck(model.label, "", 0, problem=str(error))
        if not found:
            raise errors[0]
        request = CheckRequest(
            tuple(member for member, _ in found),
            tuple(str(item.path) for item in items),
            check_labels(items),
            workload.classes,
            stall_s=spec.budget.stall_seconds,
        )
        check = check_in_subprocess(request)
    told = zip(check.members, found, strict=True)
    members = [replace(member, notes=notes) for member, (_, notes) in told]
    for number, member in refused.items():
        members.insert(number, member)
    return replace(check, members=tuple(members))


def _member(
    model: ModelSpec, place: Path, classes: JobClasses, stall_s: float
) -> tuple[CheckedMember, tuple[str, ...]]:
    """A member as a file, and what is told of it; what is made of it lies in `place`."""
    path, exported_so = model.path, tuple[str, ...]()
    if path is None:
        own = place / "exported"  # views of the same name lie in `place`
        own.mkdir()
        with exported_member(model, own) as exported:
            path, exported_so = exported.path, exported.notes
    description = describe_in_subprocess(path, stall_s)
    wishes = wishes_of(model, len(classes.names) or None, description)
    view, known = open_and_inspect_in_subprocess(path, place, wishes, stall_s)
    view.check_single(path.name)
    facts = known or inspect_in_subprocess(view.path, wishes.size, stall_s)
    if facts.inner_size is not None and wishes.size is None:
        facts = inspect_in_subprocess(view.path, facts.inner_size, stall_s)
    setup = set_up(model, view.path, facts, description, classes)
    offset = setup.variant.output.offset
    try:
        check_width(setup, facts.output_width or 0, classes)
    except ModelError as error:
        raise ModelError(f"{model.label}: {error}") from None
    doubts = (*facts.doubts, *(text for level, text in setup.notes if level == "warning"))
    width = setup.classes + offset
    checked = CheckedMember(model.label, str(view.path), setup.variant, width, doubts)
    told = [text for _, text in setup.notes if text not in doubts or classes.names]
    return checked, (*exported_so, *view.notes, *told, *(facts.doubts if classes.names else ()))
