"""What `init` proposes: guesses, replaced by what answers best on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trimtab.planner.setup_check.images import check_labels, checked_images
from trimtab.planner.setup_check.isolated import check_in_subprocess
from trimtab.planner.setup_check.records import CheckedMember, CheckRequest, MemberCheck
from trimtab.planner.specification.found_model import FoundModel
from trimtab.planner.specification.template import SPLITS, FoundImages
from trimtab.variants import make_variant
from trimtab.variants.inspection.preprocessing import GEOMETRY_FIELDS
from trimtab.workloads import Item, split_workload
from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.images.preprocess import decode_image

#: Images below which figures say too little to stand beside a proposal.
_LEAST = 16
#: Another set-up is proposed where it answers so much better, as a share of images.
_BETTER = 0.02


def propose(models: Sequence[FoundModel], images: FoundImages) -> None:
    """Try the set-ups of models on fit and tune of what would be their workload, and take over
    what answers best, with its figures. Without labels, or with outputs that do not fit the
    classes, guesses stay."""
    workload = images.workload
    items = _readable(checked_images(workload, split_workload(workload, *SPLITS, 0)), images)
    labels = check_labels(items)
    fitting = [model for model in models if model.classes >= len(workload.classes)]
    if labels is None or len(items) < _LEAST or not fitting:
        return
    members = tuple(_member(model) for model in fitting)
    paths = tuple(str(item.path) for item in items)
    check = check_in_subprocess(CheckRequest(members, paths, labels, workload.classes))
    for model, found in zip(fitting, check.members, strict=True):
        if found.problem is None:
            _take_over(model, found)
        else:
            images.problems.append(f"{model.path.name} could not be tried: {found.problem}")
    orders = {found.order for found in check.members if found.beaten}
    agreed = len(orders) == 1 and all(found.beaten for found in check.members)
    if agreed and images.classes is None and not workload.classes[0].isdigit():
        images.order = orders.pop()


def _readable(items: Sequence[Item], images: FoundImages) -> list[Item]:
    """Those that can be decoded; what cannot is told."""
    found, reasons = list[Item](), list[str]()
    for item in items:
        try:
            decode_image(str(item.path))
        except WorkloadError as error:
            reasons.append(str(error))
        else:
            found.append(item)
    if reasons:
        told = f"{len(reasons)} of the {len(items)} images that models were to be tried on"
        images.problems.append(f"{told}: {reasons[0]}")
    return found


def _member(model: FoundModel) -> CheckedMember:
    name = model.name or model.path.stem
    variant = make_variant(model.view, model.facts, model.input, {"offset": model.offset}, name)
    if model.fit is None:
        return CheckedMember(name, str(model.view), variant, model.facts.output_width or 0)
    variant = replace(variant, output=replace(variant.output, groups=model.fit.groups))
    return CheckedMember(name, str(model.view), variant, model.classes + model.offset)


def _take_over(model: FoundModel, found: MemberCheck) -> None:
    right, images = found.right or 0, found.images
    best = found.rivals[0] if found.rivals else None
    told = f"{right / images:.2f} of {images} labelled images answered rightly"
    # What was read gives way only to what is beyond doubt.
    guessed = best is None or not model.sources.keys() & found.input.keys()
    if best is not None and (found.beaten or (guessed and best.share > right / images + _BETTER)):
        told = (
            f"{best.share:.2f} of {best.images} labelled images answered rightly so "
            f"({best.text}); {right / images:.2f} with {found.specified}"
        )
        if "mean" in found.input or "std" in found.input:
            before = model.normalisation or ((0.0,), (1.0,))
            mean, std = (
                found.input.get(n, b) for n, b in zip(("mean", "std"), before, strict=True)
            )
            model.normalisation = (mean, std)
            model.sources.pop("mean", None)
        model.colour = found.input.get("colour")
        tried = {name: found.input[name] for name in GEOMETRY_FIELDS if name in found.input}
        model.read = {name: value for name, value in model.read.items() if name not in tried}
        model.geometry = {n: v for n, v in tried.items() if v not in (None, False)}
        model.offset = model.offset if found.offset is None else found.offset
        doubtful = best.right <= best.images * (found.by_chance or 0) * 2
        model.doubt = (
            f"it answers best with another {best.text}" if "order" in best.changes else ""
        )
    else:
        doubtful = found.near_chance
    if doubtful:
        model.doubt = f"near chance however it is fed ({told})"
    model.evidence = f"tried: {told}"
