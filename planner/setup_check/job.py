"""The check of a job: made once, kept in the store, and heeded before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from trimtab.db import Store, VariantRecord
from trimtab.planner.cache.keys import setup_check_lineage, variant_key
from trimtab.planner.cache.variants import host
from trimtab.planner.candidates.members import Member
from trimtab.planner.jobs.context import JobContext
from trimtab.planner.setup_check.images import check_labels, checked_images
from trimtab.planner.setup_check.isolated import check_in_subprocess
from trimtab.planner.setup_check.records import (
    CHECK_VERSION,
    CheckedMember,
    CheckRequest,
    SetupCheck,
)
from trimtab.planner.setup_check.words import findings, plain_table
from trimtab.workloads import Item
from trimtab_runtime.codec import decode, encode
from trimtab_runtime.errors import PlanningError

STEP = "setup check"
#: What a job does about the set-up of its members: does not try it, stops where it is in doubt, or
#: goes on and tells so.
SetupPolicy = Literal["ignored", "checked", "forced"]


def check_job(job: JobContext, members: Sequence[Member], force: bool) -> None:
    """Try the set-ups of a job's members, on this host.

    What is found stands in the job's summary and among its notes. Raises PlanningError, with the
    table, where a specified set-up is beaten beyond doubt or all members answer near chance;
    unless that is to be `force`d, now or when the job was begun, or the job measured already.
    """
    known = job.summary.get("setup")
    measured = bool(job.store.list_candidates(job.job_id))
    if measured and known is None:
        return  # it began before there was such a check
    items = checked_images(job.workload, job.splits)
    check = _kept_or_made(job, members, items)
    told = findings(check)
    forced = check.stops and (force or bool(known and known["forced"]))
    job.remember(setup={"findings": told, "forced": forced})
    if check.stops and not forced and not measured:
        listed = "\n".join([*told, plain_table(check)])
        raise PlanningError(
            f"the set-up of the members is in doubt:\n{listed}\ncorrect the specification, or go "
            "on as it is with --force (from Python setup='forced')"
        )
    if known is None:
        for text in told:
            job.journal.note("warning", "set-up", text)


def _kept_or_made(job: JobContext, members: Sequence[Member], items: Sequence[Item]) -> SetupCheck:
    """The check, by what it depends on."""
    variants = [member.built.variant for member in members]
    lineage = setup_check_lineage(variants, items, job.workload.classes, CHECK_VERSION)
    key = variant_key(lineage)
    with host(job.journal):
        kept = job.store.get_variant(key)
        if kept is not None:
            return decode(SetupCheck, kept.recipe["check"])
        job.journal.step("setup", "trying set-ups", 0, 1)
        request = CheckRequest(
            tuple(_checked(member) for member in members),
            tuple(str(item.path) for item in items),
            check_labels(list(items)),
            job.workload.classes,
            stall_s=job.spec.budget.stall_seconds,
        )
        check = check_in_subprocess(request, job.journal.alive)
        for member in check.members:
            if member.problem is not None:
                text = f"its set-up could not be tried: {member.problem}"
                job.journal.note("warning", member.member, text)
        if all(member.problem is None for member in check.members):  # else tried again
            _keep(job.store, key, lineage, check)
    job.journal.step("setup", "", 1, 1)
    return check


def _checked(member: Member) -> CheckedMember:
    variant = member.built.variant
    width = member.classes + variant.output.offset
    return CheckedMember(member.name, str(member.built.path), variant, width)


def _keep(store: Store, key: str, lineage: dict[str, object], check: SetupCheck) -> None:
    store.put_variant(
        VariantRecord(
            key=key,
            member=STEP,
            name=STEP,
            format=STEP,
            artefact_sha256=None,
            size_bytes=None,
            recipe={**lineage, "check": encode(check)},
            io={},
        )
    )
