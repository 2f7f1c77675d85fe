"""Devices whose jobs are done, the candidates that they have in common, and plans by their worst
case over all of them. What is unknown on one device is unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from trimtab.db import PlanMetricRecord
from trimtab.planner.candidates.evaluator import CandidateEvaluator
from trimtab.planner.candidates.measured import Measured
from trimtab.planner.jobs.context import JobContext
from trimtab.planner.jobs.summary import DeviceSummary
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.planner.specification.device import DeviceSpec
from trimtab.planner.specification.job import JobSpec
from trimtab.profilers.device import device_key
from trimtab.search.plans.plan import ComposedPlan
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.metrics import find_metric


@dataclass
class JointPlan(PlanCandidate):
    """A plan on all devices: `parts` are the plan on each. Its `composed` is the worst case."""

    parts: list[PlanCandidate] = field(default_factory=list)

    @property
    def costs(self) -> dict[str, float]:
        return worst([part.costs for part in self.parts])

    @property
    def took_turns(self) -> bool:
        return all(part.took_turns for part in self.parts)


def joint(plans: Sequence[PlanCandidate]) -> list[JointPlan]:
    """Plans on all devices, as such."""
    found = [plan for plan in plans if isinstance(plan, JointPlan)]
    assert len(found) == len(plans)
    return found


def slowest_place(plan: JointPlan) -> int | None:
    """The number of the device where the plan was slowest on test, in turns; None where it did not
    take turns on all."""
    took = [part.paired for part in plan.parts if part.paired is not None]
    if len(took) < len(plan.parts) or not all("test" in found.latency_ms for found in took):
        return None
    times = [found.latency_ms["test"].value for found in took]
    return times.index(max(times))


@dataclass
class DeviceJob:
    """A device, and how its own job went: `problem` says why it has no front."""

    device: DeviceSpec
    job: JobContext | None = None
    evaluator: CandidateEvaluator | None = None
    measured: list[Measured] = field(default_factory=list)
    problem: str | None = None
    held: ExitStack = field(default_factory=ExitStack)

    @property
    def name(self) -> str:
        return self.device.label

    @property
    def done(self) -> CandidateEvaluator:
        """What its job was measured with, once that is done."""
        assert self.evaluator is not None
        return self.evaluator

    def told(self) -> DeviceSummary:
        """For the summary of the job over all devices."""
        key = device_key(self.job.fingerprint) if self.job else None
        return {
            "name": self.name,
            "address": self.device.address,
            "job": self.job.job_id if self.job else None,
            "device_key": key,
            "problem": self.problem,
        }


def measured_everywhere(places: Sequence[DeviceJob], spec: JobSpec) -> list[list[Measured]]:
    """Of each device, in one order, the candidates (the same file, run the same way) that were
    measured on all. Raises PlanningError where those cannot be planned with."""

    def key(found: Measured) -> tuple[str, str]:
        return found.candidate.key, found.built.variant.sha256

    known = [{key(found): found for found in place.measured} for place in places]
    common = [name for name in known[0] if all(name in found for found in known)]
    shared = [[found[name] for name in common] for found in known]
    members = {m.candidate.member for m in shared[0] if m.candidate.form.is_original}
    needed = [spec.reference_name] if places[0].done.rows.labels is None else []
    missing = [name for name in needed if name not in members]
    if missing or not members:
        what = f"the reference {missing[0]}" if missing else "no member"
        raise PlanningError(
            f"{what} was {'not ' if missing else ''}measured in the same way on all devices; set "
            "runtime.threads to numbers that all devices can use"
        )
    return shared


def worst_case(parts: Sequence[ComposedPlan]) -> ComposedPlan:
    """A plan of one structure by its worst values; what it was on each device are `parts`."""
    return replace(
        parts[0],
        replayed=worst([part.replayed for part in parts]),
        guarded=worst([part.guarded for part in parts]),
        costs=worst([part.costs for part in parts]),
    )


def worst(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The lowest quality and the highest costs, by metric."""
    names = [name for name in values[0] if all(name in found for found in values)]
    return {
        name: (min if find_metric(name).maximise else max)(found[name] for found in values)
        for name in names
    }


def worst_metrics(figures: Sequence[Sequence[PlanMetricRecord]]) -> list[PlanMetricRecord]:
    """Of each figure of a plan that of the device where it is worst, with its interval."""
    known = [{(m.metric, m.split, m.basis): m for m in found} for found in figures]
    worst_ones = []
    for key in known[0]:
        if all(key in found for found in known):
            metric, _, basis = key
            lowest = find_metric(metric).maximise and basis != "optimism"
            pick = min if lowest else max
            worst_ones.append(pick((found[key] for found in known), key=lambda m: m.value))
    return worst_ones
