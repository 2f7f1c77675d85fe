"""Sentences below tables."""

from __future__ import annotations

from dataclasses import asdict

from trimtab.db import JobRecord
from trimtab.planner.jobs.summary import summary_of
from trimtab.planner.reports.front import FrontView, PlanRow
from trimtab.planner.reports.plan.report import PlanReport
from trimtab.planner.reports.speedup import LATENCY, MEASURED, UNPAIRED
from trimtab.planner.reports.text import (
    number,
    printable,
    validation_gap,
)
from trimtab_runtime.definitions.routers import FEATURE_KINDS


def router_notes(found: PlanReport) -> list[str]:
    """The router, what it costs, and the accuracy of simple alternatives."""
    router, notes = found.router, list[str]()
    if router is None:
        return notes
    if router.kind:
        seen = FEATURE_KINDS[router.kind].text(router.names)
        notes.append(
            f"Router input: {seen}. It takes {number(router.router_ms)} ms, "
            f"{router.time_share:.1%} of the time. Score penalty: {router.price:.3g} per ms."
        )
    if router.scorers:
        notes.append(
            f"Learned deferral: {router.scorers} stage(s) use a learned confidence score."
        )
    rivals = dict(router.beside)
    oracle_ms = rivals.pop("oracle_ms", None)
    if rivals:
        told = ", ".join(f"{name} {number(value, 'top1')}" for name, value in rivals.items())
        notes.append(f"Accuracy on test, for comparison: {told}.")
    if oracle_ms is not None:
        notes.append(f"Oracle (always the cheapest correct stage): {number(oracle_ms)} ms.")
    return notes


def front_notes(view: FrontView, shown: int) -> list[str]:
    """How plans were chosen, what was verified, and how far off predictions were."""
    front = sum("front" in row.roles for row in view.rows)
    lines = [
        *(f"Set-up in doubt: {text}" for text in view.setup),
        f"{shown} of {len(view.rows)} plans, {front} on the front. Plans are chosen by the "
        "conservative estimate on validation data and by predicted costs; test is only reported.",
        "Verified: the exported bundle was measured (meas.); other costs are predicted (pred.). "
        f"Test set used for {test_uses(view)}.",
        *speed_notes(view),
    ]
    chosen = view.row(view.chosen)
    if chosen is not None:
        lines += choice_notes(chosen)
        lines += caution_notes(chosen)
    if view.moved:
        lines.append(f"The choice moved: {view.moved}.")
    if chosen is not None and chosen.figure(view.quality).optimism is not None:
        lines.append(
            f"Validation-to-test gap of the chosen plan's {printable(view.quality)}: "
            f"{validation_gap(chosen.figure(view.quality))}."
        )
    for found in view.corrections:
        lines.append(
            f"{found.metric}, {found.plans} verified plans: median prediction error "
            f"{found.error_before:.1%}; with the correction, leave-one-plan-out, "
            f"{found.error_held_out:.1%}."
        )
    lines += coverage_notes(view)
    lines += [f"{name} {text}." for name, text in view.losses.items()]
    return lines + [found.text for found in view.predictors]


def speed_notes(view: FrontView) -> list[str]:
    """What speed-ups stand on, and which plans cannot be told apart."""
    bases = [row.speedup for row in view.rows if row.speedup and "baseline" not in row.roles]
    lines = []
    if any(found.basis == MEASURED for found in bases):
        lines.append(
            "Speed-ups with a 95 % interval: bundle and baseline took turns on the device."
        )
    if any(found.basis == UNPAIRED for found in bases):
        lines.append(
            "Not paired: bundle and baseline were measured one after the other; the device may "
            "have changed in between."
        )
    if any(found.disturbed for found in bases):
        lines.append("The device was not quiet while bundles took turns (see the log).")
    told = set()
    for row in view.rows:
        for label in row.alike:
            pair = frozenset((row.label, label))
            if pair not in told:
                told.add(pair)
                lines.append(f"Cannot be told apart in latency: {row.label}; {label}.")
    return lines


def choice_notes(row: PlanRow) -> list[str]:
    """Why a chosen plan was preferred to one from which it cannot be told apart."""
    return [f"Chosen: {row.label}, {row.preferred}."] if row.preferred else []


def coverage_notes(view: FrontView) -> list[str]:
    """How often bundles measured what their predictions promised."""
    lines = []
    for metric, found in view.predictions.items():
        line = (
            f"{metric}: {found['covered']} of {found['plans']} bundles measured within the 95 % "
            "interval of their prediction"
        )
        if found["device_plans"] > found["plans"]:
            line += f" ({found['device_covered']} of {found['device_plans']} on this device)"
        if found["disturbed"]:
            line += f"; {found['disturbed']} of them were disturbed"
        lines.append(line + ".")
    return lines


def caution_notes(row: PlanRow) -> list[str]:
    """What a plan's accuracy hides."""
    return [f"Caution, {row.label}: {text}." for text in row.cautions]


def test_uses(view: FrontView) -> str:
    """How often results on this test set were reported, by any job."""
    return "1 report" if view.test_looks == 1 else f"{view.test_looks} reports"


def why_none(view: FrontView) -> list[str]:
    """Why no plan is chosen: which came nearest, and by how much it misses what."""
    row = view.row(view.nearest)
    if row is None:
        return ["no plan is chosen"]
    return [f"no plan is chosen; nearest: {row.key[:8]} {row.label}", *row.reasons]


def device_notes(found: PlanReport) -> list[str]:
    """What peak memory holds for, and the mean latency on each of several devices."""
    notes = []
    if found.largest_pixels is not None:
        notes.append(
            f"Peak memory holds for JPEG and PNG of up to {found.largest_pixels / 1e6:g} million "
            "pixels; the plan reads a larger JPEG smaller, and no other that is larger."
        )
    for name, figures in found.on_each.items():
        measured = figures.get(f"{LATENCY} test measured")
        predicted = figures.get(f"{LATENCY} tune predicted")
        if measured is not None:
            notes.append(f"On {name}: {number(measured)} ms measured.")
        elif predicted is not None:
            notes.append(f"On {name}: {number(predicted)} ms predicted.")
    return notes


def reference_notes(found: PlanReport) -> list[str]:
    """How much of a bundle's variation the reference work beside it explains; nothing of one that
    took turns, whose latency was moved to no pace."""
    explained, speedup = found.verified.get("reference_explained"), found.row.speedup
    if explained is None or (speedup is not None and speedup.basis == MEASURED):
        return []
    return [
        f"Reference work explains {explained:.0%} of the variance of its latency; as far as that, "
        "it was moved to the pace of the other measurements."
    ]


def exit_notes(found: PlanReport) -> list[str]:
    """The thresholds of the exits, the contents of the memory, and the certificate."""
    thresholds = {k: v for k, v in asdict(found.thresholds).items() if v is not None}
    told = ", ".join(f"{kind} {value:.4g}" for kind, value in thresholds.items())
    notes = [f"Thresholds: {told}."] if told else []
    memory, parts = found.memory, []
    if memory.thumbnails:
        parts.append(f"{memory.thumbnails} thumbnails")
    if memory.instances:
        parts.append(f"{memory.instances} instances per tap")
    if memory.centres is not None:
        parts.append(f"class centres (measure {memory.centres.measure})")
    if memory.prior is not None:
        prior = memory.prior
        parts.append(
            f"running prior (decay {prior.decay:g}, weight {prior.weight:g}, on final answers "
            f"{prior.final:g})"
        )
    if parts:
        notes.append(f"Memory: {', '.join(parts)}.")
    return notes + ([f"Certificate: {found.certificate}."] if found.certificate else [])


def route_text(found: PlanReport) -> str:
    """How inputs go through the stages of a plan, in a few words."""
    name = {"premodel": "router"}.get(found.route, found.route)
    if len(found.stages) == 1:
        return name
    confidence = {
        "last": "from each stage's own probabilities",
        "mean": "from the mean probabilities of the stages so far",
    }[found.rule]
    return f"{name}: confidence {confidence}; escalates below the threshold"


def troubles_text(job: JobRecord) -> str | None:
    """The device problems that a job handled, as a sentence; None if there were none."""
    troubles = summary_of(job).get("troubles", {})
    if not troubles:
        return None
    told = ", ".join(f"{kind} ({count})" for kind, count in sorted(troubles.items()))
    return f"Device problems, handled: {told}. See the log above."
