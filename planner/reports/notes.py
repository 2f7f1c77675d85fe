"""Sentences that stand beside tables."""

from __future__ import annotations

from dataclasses import asdict

from trimtab.db import JobRecord
from trimtab.planner.jobs.summary import summary_of
from trimtab.planner.reports.front import LATENCY, FrontView, PlanRow
from trimtab.planner.reports.plan.report import PlanReport
from trimtab.planner.reports.text import number, optimism, printable, with_interval


def router_notes(found: PlanReport) -> list[str]:
    """What routes and what it takes, and what a routed plan must be compared with."""
    router, notes = found.router, list[str]()
    if router is None:
        return notes
    if router.kind:
        seen = {
            "image": f"features of the image ({', '.join(router.names)})",
            "tensor": "the image through a tiny network",
            "tap": "the first tap of stage 1",
        }[router.kind]
        notes.append(
            f"Router: looks at {seen}; {number(router.router_ms)} ms, {router.time_share:.1%} of "
            f"the time; price {router.price:.3g} of a score per ms."
        )
    if router.scorers:
        notes.append(f"Learned deferral: {router.scorers} stage(s) with a scorer of their own.")
    rivals = dict(router.beside)
    oracle_ms = rivals.pop("oracle_ms", None)
    if rivals:
        told = ", ".join(f"{name} {number(value, 'top1')}" for name, value in rivals.items())
        notes.append(f"Right on test beside it: {told}.")
    if oracle_ms is not None:
        notes.append(f"The cheapest stage that is right would take {number(oracle_ms)} ms.")
    return notes


def front_notes(view: FrontView, shown: int) -> list[str]:
    """What the reader of a front table must know."""
    front = sum("front" in row.roles for row in view.rows)
    looks = "once" if view.test_looks == 1 else f"{view.test_looks} times"
    lines = [
        *(f"Set-up in doubt: {text}" for text in view.setup),
        f"{shown} of {len(view.rows)} plans, {front} on the front. Chosen on tune (guarded "
        "estimates, predicted costs); test is only reported.",
        "Verified: the exported bundle was measured (meas.); all else is predicted (pred.). "
        f"Jobs have looked at this test split {looks}.",
    ]
    chosen = view.row(view.chosen)
    if chosen is not None and chosen.figure(view.quality).optimism is not None:
        lines.append(
            f"Optimism left in the chosen plan's {printable(view.quality)} (its guarded lead over "
            f"the baseline less its lead on test): {optimism(chosen.figure(view.quality))}."
        )
    for found in view.corrections:
        lines.append(
            f"{found.plans} verified plans: {found.metric} predicted with a median error of "
            f"{found.error_before:.1%}; corrected by the others, {found.error_held_out:.1%}."
        )
    lines += [f"{name} against its member: {text}." for name, text in view.losses.items()]
    return lines + [found.text for found in view.predictors]


def why_none(view: FrontView) -> list[str]:
    """Why no plan is chosen: which came nearest, and by how much it misses what."""
    row = view.row(view.nearest)
    if row is None:
        return ["no plan is chosen"]
    return [f"no plan is chosen; nearest: {row.key[:8]} {row.label}", *row.reasons]


def device_notes(found: PlanReport) -> list[str]:
    """The mean latency on each of several devices."""
    notes = []
    for name, figures in found.on_each.items():
        measured = figures.get(f"{LATENCY} test measured")
        predicted = figures.get(f"{LATENCY} tune predicted")
        if measured is not None:
            notes.append(f"On {name}: {number(measured)} ms measured.")
        elif predicted is not None:
            notes.append(f"On {name}: {number(predicted)} ms predicted.")
    return notes


def exit_notes(found: PlanReport) -> list[str]:
    """Thresholds, what is remembered, and what is certified."""
    thresholds = {k: v for k, v in asdict(found.thresholds).items() if v is not None}
    told = ", ".join(f"{kind} {value:.4g}" for kind, value in thresholds.items())
    notes = [f"Thresholds: {told}."] if told else []
    memory, parts = found.memory, []
    if memory.thumbnails:
        parts.append(f"{memory.thumbnails} thumbnails")
    if memory.instances:
        parts.append(f"{memory.instances} instances a tap")
    if memory.centres is not None:
        parts.append(f"class centres (measure {memory.centres.measure})")
    if memory.prior is not None:
        prior = memory.prior
        parts.append(
            f"running prior (decay {prior.decay:g}, weight {prior.weight:g}, on final answers "
            f"{prior.final:g})"
        )
    if parts:
        notes.append(f"Remembers {', '.join(parts)}.")
    return notes + ([f"Certificate: {found.certificate}."] if found.certificate else [])


def summary_line(row: PlanRow, view: FrontView) -> str:
    """A plan in one line: quality on test, latency, speed-up."""
    latency = row.figure(LATENCY)
    basis = "measured" if latency.measured is not None else "predicted"
    value = latency.measured if latency.measured is not None else latency.decided
    quality = with_interval(row.figure(view.quality))
    text = (
        f"{row.label}: {printable(view.quality)} {quality} on test, {number(value)} ms ({basis})"
    )
    if row.speedup is None or "baseline" in row.roles:
        return text
    return f"{text}, {row.speedup:.2f}x ({row.speedup_basis})"


def troubles_text(job: JobRecord) -> str | None:
    """What a job tells of its device, in words; None where nothing went wrong."""
    troubles = summary_of(job).get("troubles", {})
    if not troubles:
        return None
    told = ", ".join(f"{kind} ({count})" for kind, count in sorted(troubles.items()))
    return f"On the device, and dealt with: {told}. The notes above say more."
