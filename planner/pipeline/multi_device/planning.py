"""Planning over several devices: measured together, selected, verified on all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from trimtab.db import PlanMetricRecord, PlanRecord, Store
from trimtab.planner.bundles.export import keep_bundle
from trimtab.planner.bundles.turns import memory_mb, turn_settings
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.jobs.steps import ENDS_JOB, one_step
from trimtab.planner.jobs.summary import JobSummary
from trimtab.planner.pipeline.multi_device.plans import (
    DeviceJob,
    JointPlan,
    measured_everywhere,
    slowest_place,
    worst_metrics,
)
from trimtab.planner.pipeline.multi_device.selection import (
    Group,
    JointSelector,
    agreed_baseline,
)
from trimtab.planner.pipeline.multi_device.verification import PlaceVerifier, VerificationLedger
from trimtab.planner.pipeline.planning import (
    ROUNDS,
    PlanningStage,
    count_exposure,
    selection_summary,
)
from trimtab.planner.selection.corrections import correct
from trimtab.planner.selection.decision import why_moved
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
from trimtab.planner.selection.selector import PlanSelector, Selection
from trimtab.planner.specification.job import JobSpec
from trimtab.search.costs.cascade import CascadeCosts
from trimtab_runtime.errors import TrimtabError


class Each(Protocol):
    """Works at the same time for all devices."""

    def __call__(self, work: Callable[[int], Any], items: Sequence[int]) -> list[Any]: ...


class WorstCasePlanning:
    """Composes, chooses and verifies plans over all `places`."""

    def __init__(
        self,
        job_id: str,
        spec: JobSpec,
        store: Store,
        journal: Journal,
        places: Sequence[DeviceJob],
        each: Each,
    ) -> None:
        self._job_id, self._spec, self._store, self._journal = job_id, spec, store, journal
        self._places, self._each = places, each
        self._numbers = range(len(places))
        shared = measured_everywhere(places, spec)
        first = PlanningStage(places[0].done, shared[0])
        agreed = first.selector.data.options
        rest = zip(places[1:], shared[1:], strict=True)
        self._stages = [first, *(PlanningStage(p.done, found, agreed) for p, found in rest)]
        self._rules = first.selector.rules
        own = [stage.selector.data for stage in self._stages]
        members, baseline = agreed_baseline(own, spec.baseline_name)
        self._data = [replace(data, members=members, baseline=baseline) for data in own]
        self._selectors = [PlanSelector(data) for data in self._data]
        self._selector = JointSelector(self._selectors)
        self._reports = [
            HeldOutReports(selector.evaluator, place.done.items)
            for selector, place in zip(self._selectors, places, strict=True)
        ]
        self._plans: list[JointPlan] = []
        self._nearest: PlanCandidate | None = None
        self._unbundled: set[str] = set()
        self._moved = ""

    def decide(self, remember: Callable[..., None]) -> None:
        """Leaves a verified choice in the store, and what was found in the job's summary."""
        self._journal.step("search", "plans for all devices", 0, 1)
        groups = self._selector.screen(self._spec.together)
        self._journal.step("search", "", 1, 1)
        self._plans, self._nearest = self._selector.select(self._measured_together(groups))
        remember(**self._found())
        self._store_plans({})
        workload = self._places[0].done.job.workload
        count_exposure(self._store, self._job_id, workload.key, self._plans)
        ledger = VerificationLedger(
            self._store, self._job_id, [place.name for place in self._places]
        )
        verifiers = self._verify(ledger)
        self._store_plans(
            {
                key: [verifier.records[key].values for verifier in verifiers]
                for key in self._verified(verifiers)
            }
        )
        remember(**self._found())

    def _measured_together(self, groups: Sequence[Group]) -> list[dict[Group, CascadeCosts]]:
        """What the groups that could be measured everywhere cost on each device."""
        found: list[dict[Group, CascadeCosts]] = self._each(
            lambda number: self._stages[number].measured_together(groups), self._numbers
        )
        common = [group for group in groups if all(group in costs for costs in found)]
        return [{group: costs[group] for group in common} for costs in found]

    def _parts(self, number: int) -> list[PlanCandidate]:
        """The plans on one device."""
        return [plan.parts[number] for plan in self._plans]

    @property
    def _chosen(self) -> JointPlan | None:
        return next((plan for plan in self._plans if plan.is_chosen), None)

    def _verify(self, ledger: VerificationLedger) -> list[PlaceVerifier]:
        """Run the very same bundles on all devices; what they measure has the last word."""
        job = self._store.get_job(self._job_id)
        assert job is not None
        baseline = self._selector.baseline_of(self._plans)
        verifiers = [
            PlaceVerifier(
                job, self._store, p.done.job.device, p.done.job.journal, selector.evaluator,
                p.done.items, baseline.key, memory_mb(p.done.job.fingerprint),
                turn_settings(p.done.job.settings), name=p.name, ledger=ledger,
            )
            for p, selector in zip(self._places, self._selectors, strict=True)
        ]  # fmt: skip
        ahead = [plan for plan in self._plans if plan.on_front]
        spanning = self._rules.spanning(ahead, self._spec.verify)
        before = self._chosen
        always = [plan for plan in (before, baseline) if plan is not None]
        wanted = {plan.key for plan in [*always, *spanning]}
        self._run_bundles(verifiers, [plan for plan in self._plans if plan.key in wanted])
        for number in range(ROUNDS):
            for device, verifier in enumerate(verifiers):
                correct(self._parts(device), verifier.pairs, self._data[device].correction)
            done = self._verified(verifiers)
            failed = self._unbundled.union(*(verifier.failed for verifier in verifiers))
            last = number == ROUNDS - 1
            among = [p for p in self._plans if p.key in done or not (last or p.key in failed)]
            self._nearest = self._rules.choose(self._plans, baseline, among, self._selector.ties)
            self._rules.mark_front(self._plans)
            if self._chosen is None or self._chosen.key in done:
                break
            self._run_bundles(verifiers, [self._chosen])
        if before is not None:
            ties = self._selector.ties
            self._moved = why_moved(before, self._chosen, baseline, failed, ties)
            if self._moved:
                self._journal.note("warning", before.label, self._moved)
                self._moved = f"{before.label}: {self._moved}"
        return verifiers

    def _run_bundles(self, verifiers: Sequence[PlaceVerifier], plans: Sequence[JointPlan]) -> None:
        first = self._places[0].done
        golden = [first.items[row].path for row in first.rows.fit]
        bundles = {}
        for plan in plans:
            try:
                job = verifiers[0].job
                with one_step():
                    bundles[plan.key] = keep_bundle(self._store, job, plan.key, golden)
            except ENDS_JOB:
                raise
            except TrimtabError as error:
                self._unbundled.add(plan.key)
                self._journal.note("error", plan.label, f"cannot be exported: {error}")

        def work(number: int) -> None:
            verifiers[number].bundles = bundles
            verifiers[number].verify([p.parts[number] for p in plans if p.key in bundles])

        self._each(work, self._numbers)

    @staticmethod
    def _verified(verifiers: Sequence[PlaceVerifier]) -> set[str]:
        """Keys of the plans that ran on all devices."""
        return set.intersection(*(set(verifier.records) for verifier in verifiers))

    def _store_plans(self, measured: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
        """Replace the job's plans and their figures; `measured` on each device by plan."""
        plans, metrics = [], []
        for plan in self._plans:
            known = measured.get(plan.key)
            figures = [
                self._figures(plan, number, known[number] if known else None)
                for number in self._numbers
            ]
            plans.append(self._record(plan, figures, known is not None))
            metrics += worst_metrics(figures)
        self._store.replace_plans(self._job_id, plans, metrics)

    def _figures(
        self, plan: JointPlan, number: int, measured: Mapping[str, float] | None
    ) -> list[PlanMetricRecord]:
        """All that is known of the plan on one device."""
        part, found = plan.parts[number], decided_metrics(self._job_id, plan.parts[number])
        report = self._report(plan, number, measured is not None)
        if report is not None:
            found += reported_metrics(self._job_id, part, report)
        found += predicted_metrics(self._job_id, part, self._reports[number].costs(part))
        return found + measured_metrics(self._job_id, part, measured or {})

    def _report(self, plan: JointPlan, number: int, verified: bool) -> HeldOutReport | None:
        """The plan on test on one device; None for plans that are not reported."""
        if not plan.is_reported and not verified:
            return None
        baseline = self._selector.baseline_of(self._plans)
        return self._reports[number].of(plan.parts[number], baseline.parts[number])

    def _record(
        self, plan: JointPlan, figures: Sequence[Sequence[PlanMetricRecord]], verified: bool
    ) -> PlanRecord:
        """Its stages are told as on the device where it is slowest, its operating points are
        those of the worst case; `devices` in its definition has the figures of each by 'metric
        split basis'."""
        slowest = max(self._numbers, key=lambda n: plan.parts[n].costs["latency_mean_ms"])
        points = family(self._plans, plan, self._rules.quality)
        part, report = plan.parts[slowest], self._report(plan, slowest, verified)
        record = plan_record(
            self._job_id,
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
                "paired": self._paired(plan),
            },
            on_front=plan.on_front,
            is_chosen=plan.is_chosen,
            feasible=plan.feasible,
            reasons=plan.reasons,
        )

    def _paired(self, plan: JointPlan) -> dict[str, Any] | None:
        """How the plan did in turns on the device where it is slowest, if the baseline is slowest
        there too: else its speed-up is a quotient of two devices."""
        baseline = self._selector.baseline_of(self._plans)
        place = slowest_place(plan)
        if place is None or place != slowest_place(baseline):
            return None
        paired = plan.parts[place].paired
        return paired.plain() if paired else None

    def _found(self) -> JobSummary:
        """For the job's summary."""
        baseline = self._selector.baseline_of(self._plans)
        selection = Selection([*self._plans], (), baseline, self._nearest)
        return {
            "classes": self._places[0].done.job.summary["classes"],
            "candidates": len(self._data[0].measured),
            **selection_summary(selection, self._data[0], self._moved),
        }
