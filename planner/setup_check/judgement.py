"""What the trial of a member says: rivals, chance, a single class, how sure answers are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from trimtab.planner.setup_check.orders import Ints, Reading, answers
from trimtab.planner.setup_check.pictures import Pictures
from trimtab.planner.setup_check.records import (
    CheckedMember,
    CheckRequest,
    MemberCheck,
    SetupCheck,
    UnlabelledSetup,
)
from trimtab.planner.setup_check.rivals import Rival
from trimtab.planner.setup_check.statistics import beats, chance, near_chance
from trimtab.planner.setup_check.trial import MemberTrial
from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.formats import OutputFormat
from trimtab_runtime.plans.routing import calibrated

#: Images without labels that a member is asked about, and answers that may all be of one class.
_UNLABELLED = 32
_ALWAYS = 16


def check_members(request: CheckRequest) -> SetupCheck:
    """Try every member of a request. Raises what an engine or a damaged image raises."""
    found = [check_member(request, number) for number in range(len(request.members))]
    return joined(found, request.labels is not None)


def check_member(request: CheckRequest, number: int) -> tuple[MemberCheck, Ints]:
    """The judgement of one member, and the answers (set-ups, images) of its specified set-up and,
    without labels, of its `unlabelled` ones."""
    member = request.members[number]
    return _checked(member, Pictures(request.images, [member.variant.input]), request)


def joined(found: Sequence[tuple[MemberCheck, Ints]], labelled: bool) -> SetupCheck:
    """Members by themselves, with how often they agree."""
    checks = [_agreeing(number, found) for number in range(len(found))]
    return SetupCheck(tuple(checks), labelled)


def _checked(
    member: CheckedMember, pictures: Pictures, request: CheckRequest
) -> tuple[MemberCheck, Ints]:
    trial = MemberTrial(member, pictures, request)
    labels, classes = None, request.classes
    check = MemberCheck(member.name, specified_text(member.variant), 0, doubts=member.doubts)
    setups = []
    if request.labels is None:
        setups = trial.untold(min(_UNLABELLED, len(request.images)))[1:]
        check = replace(check, tried=1 + len(setups))
    else:
        labels = np.array(request.labels, np.int64)
        rivals, tried = trial.compare(labels, classes)
        labels = labels[: trial.images]
        check = _compared(replace(check, tried=tried), member, trial, rivals, labels, classes)
    predicted = answers(trial.outputs(), trial.offset)
    check = _of_answers(check, member, trial, predicted, labels, classes)
    others = tuple(
        UnlabelledSetup(setup.changes, trial.images, *_certainty(member, trial, setup.input))
        for setup in setups
    )
    told = [predicted, *(answers(trial.outputs(s.input), trial.offset) for s in setups)]
    return replace(check, unlabelled=others), np.stack(told)


def _certainty(member: CheckedMember, trial: MemberTrial, index: int) -> tuple[float, float]:
    """The mean largest probability, and the mean entropy as a share of the largest possible."""
    kept = trial.outputs(index)[:, trial.offset :]
    kind = OutputFormat(member.variant.output.kind)
    shares = np.nan_to_num(calibrated(kept, kind, 1.0).astype(np.float64))
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum(1) / np.log(shares.shape[1])
    return float(shares.max(1).mean()), float(entropy.mean())


def _compared(
    check: MemberCheck,
    member: CheckedMember,
    trial: MemberTrial,
    rivals: Sequence[Rival],
    labels: Ints,
    classes: Sequence[str],
) -> MemberCheck:
    specified = Reading(trial.offset, np.arange(len(classes)))
    outputs = trial.outputs()
    right = int(specified.right(outputs, labels).sum())
    by_chance = chance(answers(outputs, specified.offset), labels)
    check = replace(
        check,
        right=right,
        by_chance=by_chance,
        near_chance=near_chance(right, len(labels), by_chance),
        rivals=tuple(rival.told for rival in rivals),
    )
    if not rivals:
        return check
    best = rivals[0].setup
    reading, before = best.reading, vars(member.variant.input)
    tried = vars(trial.inputs[best.input])
    changed: dict[str, Any] = {k: value for k, value in tried.items() if value != before[k]}
    order: tuple[str, ...] = ()
    whole = set(reading.places.tolist()) == set(range(len(classes)))
    if "order" in best.changes and rivals[0].certain and whole:
        order = tuple(classes[index] for index in np.argsort(reading.places))
    return replace(
        check,
        beaten=beats(rivals[0].told),
        input=changed,
        offset=reading.offset if "offset" in best.changes else None,
        order=order,
    )


def _of_answers(
    check: MemberCheck,
    member: CheckedMember,
    trial: MemberTrial,
    predicted: Ints,
    labels: Ints | None,
    classes: Sequence[str],
) -> MemberCheck:
    """With what the answers themselves say."""
    sureness, entropy = _certainty(member, trial, 0)
    several = labels is None or len(np.unique(labels)) > 1
    always = None
    if len(predicted) >= _ALWAYS and several and len(np.unique(predicted)) == 1:
        index = int(predicted[0])
        always = classes[index] if index < len(classes) else str(index)
    return replace(
        check,
        images=len(predicted),
        always=always,
        sureness=sureness,
        entropy=entropy,
    )


def _agreeing(number: int, found: Sequence[tuple[MemberCheck, Ints]]) -> MemberCheck:
    """A member's check with how often the others give its answer, and those of its `unlabelled`
    set-ups: what agrees most comes first, then what is surest."""
    check, told = found[number]
    others = [answered[0] for n, (_, answered) in enumerate(found) if n != number]
    unlabelled = [
        replace(setup, agreement=_agreement(row, others))
        for setup, row in zip(check.unlabelled, told[1:], strict=True)
    ]
    unlabelled.sort(key=lambda setup: (-(setup.agreement or 0.0), setup.entropy))
    return replace(check, agreement=_agreement(told[0], others), unlabelled=tuple(unlabelled))


def _agreement(own: Ints, others: Sequence[Ints]) -> float | None:
    """The mean share of images on which others answer the same; None without any."""
    both = [(other, min(len(own), len(other))) for other in others]
    shares = [float((own[:size] == other[:size]).mean()) for other, size in both if size]
    return float(np.mean(shares)) if shares else None


def specified_text(variant: Variant) -> str:
    """How a variant is fed and read, in words."""
    fmt, output = variant.input, variant.output
    mean, std = (" ".join(f"{value:.4g}" for value in v) for v in (fmt.mean, fmt.std))
    fit = "" if fmt.fit == "squash" else f", {fmt.fit}"
    if fmt.resize_size is not None:
        fit += f", resized to {fmt.resize_size[0]}x{fmt.resize_size[1]}"
    crop = f", crop {fmt.crop:g}" if fmt.crop < 1 else ""
    offset = f", offset {output.offset}" if output.offset else ""
    return f"mean {mean}, std {std}, {fmt.colour}{fit}{crop}{offset}"
