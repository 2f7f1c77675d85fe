"""Why another plan of the front was not chosen."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.db import JobRecord, Store
from trimtab.planner.reports.answers.inputs import TestInputs, job_inputs
from trimtab.planner.reports.answers.plan_answers import PlanAnswers, lead, plan_answers
from trimtab.planner.reports.comparison import place_of
from trimtab.planner.reports.front import FrontView, PlanRow
from trimtab.planner.reports.text import number, printable
from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.metrics import find_metric


@dataclass(frozen=True)
class WhyNot:
    """A plan that was not chosen, and why, in a sentence."""

    key: str
    label: str
    text: str


def why_not(
    store: Store, job: JobRecord, view: FrontView, only: str | None = None
) -> list[WhyNot]:
    """Of every plan of the front, and of the baseline, why the chosen one was preferred; or of the
    plan with the key `only`. Empty where none was chosen."""
    chosen = view.row(view.chosen)
    if chosen is None:
        return []
    others = [
        row
        for row in view.rows
        if row.key != chosen.key
        and (row.key == only if only else {"front", "baseline"} & set(row.roles))
    ]
    leads = _leads(store, job, [row.key for row in others], chosen.key)
    return [
        WhyNot(row.key, row.label, _reason(view, row, chosen, leads.get(row.key)))
        for row in others
    ]


def _reason(
    view: FrontView, row: PlanRow, chosen: PlanRow, gain: tuple[float, float, float] | None
) -> str:
    if row.reasons:
        return "; ".join(row.reasons)
    if row.status == "failed":
        return "its bundle could not be verified"
    cost = _cost(view, row, chosen)
    quality = _quality(gain)
    if f"({row.key[:8]})" in chosen.preferred:  # the one that it says it was preferred to
        return f"cannot be told from the chosen plan, which is simpler; {quality}"
    return f"{cost}; {quality}"


def _cost(view: FrontView, row: PlanRow, chosen: PlanRow) -> str:
    """How its cost differs, by the figures that both have."""
    own, its = row.figure(view.cost), chosen.figure(view.cost)
    both = own.measured is not None and its.measured is not None
    values = (own.measured, its.measured) if both else (own.predicted, its.predicted)
    if values[0] is None or not values[1]:
        return f"its {view.cost} is not known"
    word = "slower" if view.cost.startswith("latency") else f"more {view.cost}"
    change = values[0] / values[1] - 1
    if change < 0:
        word = "faster" if view.cost.startswith("latency") else f"less {view.cost}"
        least = _least(view)
        missed = row.figure(view.quality).decided
        if least is not None and missed is not None and missed < least:
            return (
                f"{-change:.0%} {word}, but its {printable(view.quality)} on validation data "
                f"(conservatively {number(missed, view.quality)}) is below the baseline's "
                f"{number(least, view.quality)}"
            )
    unit = find_metric(view.cost).unit
    basis = "measured" if both else "predicted"
    figures = f"{number(values[0])} against {number(values[1])} {unit}, {basis}"
    return f"{abs(change):.0%} {word} ({figures})"


def _least(view: FrontView) -> float | None:
    """What a plan must reach on validation data; None where constraints say it."""
    if view.bounded:
        return None
    baseline = view.row(view.baseline)
    return baseline.figure(view.quality).replayed if baseline else None


def _quality(gain: tuple[float, float, float] | None) -> str:
    if gain is None:
        return "whether it is more accurate is not known"
    points, low, high = (100 * value for value in gain)
    told = f"accuracy {points:+.1f} points (95 % CI {low:+.1f} to {high:+.1f})"
    if low > 0:
        return f"{told} on test, which nothing is decided on"
    return f"{told}, no gain beyond chance"


def _leads(
    store: Store, job: JobRecord, keys: list[str], chosen: str
) -> dict[str, tuple[float, float, float]]:
    """The lead in accuracy on test over the chosen plan, by the keys of plans; without those of
    which it is not known."""
    place = place_of(store, job)
    try:
        inputs = job_inputs(place)
        base = _answers(store, place, chosen, inputs)
    except TrimtabError:  # images are gone, or traces: said by `_quality`
        return {}
    found = {}
    for key in keys:
        try:
            own = _answers(store, place, key, inputs)
        except TrimtabError:
            continue
        gain = lead(own, base, inputs)
        if gain is not None:
            found[key] = gain
    return found


def _answers(store: Store, place: JobRecord, key: str, inputs: TestInputs) -> PlanAnswers:
    return plan_answers(store, place, store.find_plan(key, job_id=place.id), inputs)
