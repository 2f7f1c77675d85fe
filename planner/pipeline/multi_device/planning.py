"""Planning over several devices: measured together, selected, verified on all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trimtab.db import PlanMetricRecord, PlanRecord, Store
from trimtab.planner.bundles.turns import memory_mb, turn_settings
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.pipeline.flow import (
    PlanDecision,
    Settled,
    predicted_alone,
    selection_summary,
)
from trimtab.planner.pipeline.multi_device.plans import (
    DeviceJob,
    JointPlan,
    joint,
    measured_everywhere,
    slowest_place,
    worst_metrics,
)
from trimtab.planner.pipeline.multi_device.selection import (
    Group,
    JointSelector,
    agreed_baseline,
)
from trimtab.planner.pipeline.multi_device.verification import (
    Each,
    JointVerifier,
    PlaceVerifier,
    VerificationLedger,
)
from trimtab.planner.pipeline.planning import PlanningStage
from trimtab.planner.selection.data import SelectionData
from trimtab.planner.selection.held_out import HeldOutReport, HeldOutReports
from trimtab.planner.selection.operating_points import family
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.planner.selection.records import (
    decided_metrics,
    measured_metrics,
    plan_record,
    predicted_metrics,
    reported_metrics,
)
from trimtab.planner.selection.rules import Selection
from trimtab.planner.selection.selector import PlanSelector
from trimtab.planner.specification.job import JobSpec
from trimtab.search.costs.cascade import CascadeCosts


class WorstCasePlanning(PlanDecision[JointVerifier]):
    """Composes, chooses and verifies plans over all `places`; `remember` adds to the summary of
    the job."""

    def __init__(
        self,
        job_id: str,
        spec: JobSpec,
        store: Store,
        journal: Journal,
        places: Sequence[DeviceJob],
        each: Each,
        remember: Callable[..., None],
    ) -> None:
        super().__init__(job_id, spec, store, journal, places[0].done.job.workload.key)
        self._places, self._each, self._remember = places, each, remember
        self._numbers = range(len(places))
        shared = measured_everywhere(places, spec)
        first = PlanningStage(places[0].done, shared[0])
        agreed = first.selector.data.options
        rest = zip(places[1:], shared[1:], strict=True)
        self._stages = [first, *(PlanningStage(p.done, found, agreed) for p, found in rest)]
        own = [stage.selector.data for stage in self._stages]
        members, baseline = agreed_baseline(own, spec.baseline_name)
        self._data = [replace(data, members=members, baseline=baseline) for data in own]
        self._selectors = [PlanSelector(data) for data in self._data]
        self._selector = JointSelector(self._selectors)
        self._reports = [
            HeldOutReports(selector.evaluator, place.done.items)
            for selector, place in zip(self._selectors, places, strict=True)
        ]

    @property
    def selector(self) -> JointSelector:
        return self._selector

    @property
    def data(self) -> SelectionData:
        """What is selected from, of the first device; all have the same candidates."""
        return self._data[0]

    def select(self) -> Selection:
        self.journal.step("search", "plans for all devices", 0, 1)
        groups = self._selector.screen(self.spec.together)
        self.journal.step("search", "", 1, 1)
        selection = self._selector.select(self._measured_together(groups))
        self._summarise(selection, "")
        return selection

    def verifier(self, selection: Selection) -> JointVerifier:
        job = self.store.get_job(self.job_id)
        assert job is not None
        names = [place.name for place in self._places]
        ledger = VerificationLedger(self.store, self.job_id, names)
        verifiers = [
            PlaceVerifier(
                job, self.store, p.done.job.device, p.done.job.journal, selector.evaluator,
                p.done.items, selection.baseline.key, memory_mb(p.done.job.fingerprint),
                turn_settings(p.done.job.settings), name=p.name, ledger=ledger,
            )
            for p, selector in zip(self._places, self._selectors, strict=True)
        ]  # fmt: skip
        first = self._places[0].done
        golden = [first.items[row].path for row in first.rows.fit]
        return JointVerifier(verifiers, golden, self.store, self.journal, self._each)

    def conclude(self, found: Settled, verifier: JointVerifier) -> None:
        self._summarise(found.selection, found.moved)

    def _measured_together(self, groups: Sequence[Group]) -> list[dict[Group, CascadeCosts]]:
        """What the groups that could be measured everywhere cost on each device."""
        found: list[dict[Group, CascadeCosts]] = self._each(
            lambda number: self._stages[number].measured_together(groups), self._numbers
        )
        common = [group for group in groups if all(group in costs for costs in found)]
        return [{group: costs[group] for group in common} for costs in found]

    def store_plans(self, selection: Selection, verifier: JointVerifier | None) -> None:
        plans, metrics = [], []
        verified = verifier.verified if verifier is not None else ()
        for plan in joint(selection.plans):
            measured: Sequence[Mapping[str, float] | None] = [None] * len(self._places)
            if verifier is not None and plan.key in verified:
                measured = verifier.values(plan.key)
            reports = self._reports_of(plan, selection.baseline, plan.key in verified)
            figures = [
                self._figures(plan, number, reports[number], measured[number])
                for number in self._numbers
            ]
            plans.append(self._record(plan, selection, figures, reports))
            metrics += worst_metrics(figures)
        self.store.replace_plans(self.job_id, plans, metrics)

    def _figures(
        self,
        plan: JointPlan,
        number: int,
        report: HeldOutReport | None,
        measured: Mapping[str, float] | None,
    ) -> list[PlanMetricRecord]:
        """All that is known of the plan on one device."""
        part = plan.parts[number]
        found = decided_metrics(self.job_id, part)
        if report is not None:
            found += reported_metrics(self.job_id, part, report)
        found += predicted_metrics(self.job_id, part, self._reports[number].predicted(part))
        return found + measured_metrics(self.job_id, part, measured or {})

    def _reports_of(
        self, plan: JointPlan, baseline: PlanCandidate, verified: bool
    ) -> list[HeldOutReport | None]:
        """The plan on test on each device; None for plans that are not reported."""
        if not plan.is_reported and not verified:
            return [None] * len(self._places)
        (base,) = joint([baseline])
        parts = zip(self._reports, plan.parts, base.parts, strict=True)
        return [reports.of(part, its) for reports, part, its in parts]

    def _record(
        self,
        plan: JointPlan,
        selection: Selection,
        figures: Sequence[Sequence[PlanMetricRecord]],
        reports: Sequence[HeldOutReport | None],
    ) -> PlanRecord:
        """Its stages are told as on the device where it is slowest, its operating points are
        those of the worst case; `devices` in its definition has the figures of each by 'metric
        split basis'."""
        slowest = max(self._numbers, key=lambda n: plan.parts[n].costs["latency_mean_ms"])
        points = family(selection.plans, plan, self._selector.rules.quality)
        part, report = plan.parts[slowest], reports[slowest]
        record = plan_record(
            self.job_id,
            part,
            self._selectors[slowest].evaluator,
            self._stages[slowest].variants,
            report.breakdown if report else self._reports[slowest].on_tune(part),
            points,
        )
        devices = {
            place.name: {f"{m.metric} {m.split} {m.basis}": m.value for m in found}
            for place, found in zip(self._places, figures, strict=True)
        }
        return replace(
            record,
            label=plan.label,
            definition={
                **record.definition,
                "devices": devices,
                "preferred": plan.preferred,
                "paired": self._paired(plan, selection.baseline),
            },
            on_front=plan.on_front,
            is_chosen=plan.is_chosen,
            feasible=plan.feasible,
            reasons=plan.reasons,
        )

    @staticmethod
    def _paired(plan: JointPlan, baseline: PlanCandidate) -> dict[str, Any] | None:
        """How the plan did in turns on the device where it is slowest, if the baseline is slowest
        there too: else its speed-up is a quotient of two devices."""
        (base,) = joint([baseline])
        place = slowest_place(plan)
        if place is None or place != slowest_place(base):
            return None
        paired = plan.parts[place].paired
        return paired.plain() if paired else None

    def _summarise(self, selection: Selection, moved: str) -> None:
        """Keep what was selected in the job's summary."""
        alone_ms = predicted_alone(selection, self._predicted_ms)
        self._remember(
            classes=self._places[0].done.job.summary["classes"],
            candidates=len(self.data.measured),
            **selection_summary(selection, self.data, moved, alone_ms),
        )

    def _predicted_ms(self, plan: PlanCandidate) -> float:
        """On the device where that is most."""
        (found,) = joint([plan])
        parts = zip(self._reports, found.parts, strict=True)
        return max(reports.predicted(part)["latency_mean_ms"] for reports, part in parts)
