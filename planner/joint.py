"""One plan on several devices, and the candidates that they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from planner.judging import Judged
from planner.measuring import Measured
from planner.run import Run
from planner.spec import JobSpec
from planner.worst import worst
from search.problem import Composed
from trimtab_runtime.errors import PlanningError


@dataclass
class JointPlan(Judged):
    """A plan on all devices: `parts` are the plan on each. Its `composed` is the worst case."""

    parts: list[Judged] = field(default_factory=list)

    @property
    def costs(self) -> dict[str, float]:
        return worst([part.costs for part in self.parts])


@dataclass
class Place:
    """A device whose own job is done, with what that measured."""

    name: str
    run: Run
    measured: Sequence[Measured]


def measured_everywhere(places: Sequence[Place], spec: JobSpec) -> list[list[Measured]]:
    """Of each device, in one order, the candidates (the same file, run the same way) that were
    measured on all. Raises PlanningError where those cannot be planned with."""

    def key(found: Measured) -> tuple[str, str]:
        return found.candidate.key, found.built.variant.sha256

    known = [{key(found): found for found in place.measured} for place in places]
    common = [name for name in known[0] if all(name in found for found in known)]
    shared = [[found[name] for name in common] for found in known]
    members = {m.candidate.member for m in shared[0] if m.candidate.precision == "as_is"}
    needed = [spec.reference_name] if places[0].run.rows.labels is None else []
    missing = [name for name in needed if name not in members]
    if missing or not members:
        what = f"the reference {missing[0]}" if missing else "no member"
        raise PlanningError(
            f"{what} was {'not ' if missing else ''}measured in the same way on all devices; name "
            "numbers of threads that suit all in runtime.threads"
        )
    return shared


def worst_case(parts: Sequence[Composed]) -> Composed:
    """A plan of one structure by its worst values; what it was on each device are `parts`."""
    return replace(
        parts[0],
        replayed=worst([part.replayed for part in parts]),
        guarded=worst([part.guarded for part in parts]),
        costs=worst([part.costs for part in parts]),
    )
