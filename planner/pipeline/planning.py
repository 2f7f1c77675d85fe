"""Selects plans on validation data and verifies them: screen, measure together, select, verify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.db import CorrectionRecord, MeasurementRecord
from trimtab.planner.bundles.turns import memory_mb, turn_settings
from trimtab.planner.bundles.verification import BundleVerifier
from trimtab.planner.cache.measurements import StageSetup
from trimtab.planner.candidates.evaluator import CandidateEvaluator
from trimtab.planner.candidates.measured import Measured
from trimtab.planner.candidates.stages import costs_together
from trimtab.planner.jobs.steps import ENDS_JOB, one_step
from trimtab.planner.pipeline.colocation import measure_twice
from trimtab.planner.pipeline.flow import (
    PlanDecision,
    Settled,
    predicted_alone,
    selection_summary,
)
from trimtab.planner.selection.class_cautions import class_cautions
from trimtab.planner.selection.data import SelectionData
from trimtab.planner.selection.held_out import HeldOutReports
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.planner.selection.predictions import (
    earlier_correction,
    earlier_errors,
    prediction_summary,
    with_intervals,
)
from trimtab.planner.selection.records import (
    decided_metrics,
    measured_metrics,
    plan_record,
    predicted_metrics,
    reported_metrics,
)
from trimtab.planner.selection.rules import Selection
from trimtab.planner.selection.selector import PlanSelector, Screening
from trimtab.planner.techniques import TECHNIQUES
from trimtab.planner.techniques.base import PlanGenerator
from trimtab.planner.techniques.exit_points.taps import TapPreparation
from trimtab.profilers.device import device_key
from trimtab.search.costs.cascade import CascadeCosts
from trimtab.search.costs.correction import Learned
from trimtab.search.plans.option import StageOption
from trimtab.search.plans.plan import ComposedPlan
from trimtab_runtime.errors import TrimtabError


class PlanningStage(PlanDecision[BundleVerifier]):
    """Everything after the candidates were measured one by one."""

    def __init__(
        self,
        evaluator: CandidateEvaluator,
        measured: Sequence[Measured],
        agreed: Sequence[StageOption] = (),
    ) -> None:
        self._evaluator, self._job = evaluator, evaluator.job
        job = evaluator.job
        super().__init__(job.job_id, job.spec, job.store, job.journal, job.workload.key)
        self.variants = {m.built.variant.sha256: m.built.variant for m in measured}
        correction = earlier_correction(self._job)
        self._errors = earlier_errors(self._job)
        data = SelectionData.of(self._job.spec, measured, evaluator.rows, correction, agreed)
        self._selector = PlanSelector(data)
        self._reports = HeldOutReports(self._selector.evaluator, evaluator.items)

    @property
    def selector(self) -> PlanSelector:
        return self._selector

    def select(self) -> Selection:
        self.journal.step("search", "composing plans", 0, 1)
        screening = self.selector.screen(self.spec.together)
        self.journal.step("search", "", 1, 1)
        together = self.measured_together(screening.groups)
        built = self.technique_plans(screening)
        return self.selector.select(together, built, screening.least)

    def verifier(self, selection: Selection) -> BundleVerifier:
        job = self._job
        return BundleVerifier(
            job.record,
            job.store,
            job.device,
            job.journal,
            self.selector.evaluator,
            self._evaluator.items,
            selection.baseline.key,
            memory_mb(job.fingerprint),
            turn_settings(job.settings),
        )

    def conclude(self, found: Settled, verifier: BundleVerifier) -> None:
        selection, data, job = found.selection, self.selector.data, self._job
        self._put_corrections(found.learned)
        job.remember(predictions=prediction_summary(job, verifier.pairs, self._errors))
        for text in self._cautions(selection):
            assert selection.chosen is not None
            self.journal.note("warning", selection.chosen.label, text)
        for maker in self._evaluator.makers.values():
            maker.report(data.measured, data.targets, data.quality)
        alone_ms = predicted_alone(selection, self._predicted_ms)
        job.remember(**selection_summary(selection, data, found.moved, alone_ms))

    def _predicted_ms(self, plan: PlanCandidate) -> float:
        return self._reports.predicted(plan)["latency_mean_ms"]

    def measured_together(
        self, groups: Sequence[tuple[int, ...]]
    ) -> dict[tuple[int, ...], CascadeCosts]:
        """The costs of stages, measured together with the other stages of their plans."""
        data, journal = self.selector.data, self.journal
        parts = [[data.measured[index] for index in group] for group in groups]
        labels = [" + ".join(part.candidate.label for part in group) for group in parts]

        def measure(number: int, visit: int) -> MeasurementRecord:
            setups = [StageSetup(part.built, part.candidate.options) for part in parts[number]]
            return self._evaluator.measurements.measurement(setups, visit)

        visits = measure_twice(labels, measure, journal)
        journal.step("together", "", 1, 1)
        warned = [record.warnings for found in visits.values() for record in found]
        disturbed = [warnings for warnings in warned if warnings]
        if disturbed:
            text = f"{len(disturbed)} of {len(warned)} were disturbed, e.g.: {disturbed[0][0]}"
            journal.note("warning", "measurements together", text)
        costs = {}
        for number, found in visits.items():
            stages, process = costs_together(parts[number], found, data.pace)
            costs[groups[number]] = CascadeCosts(stages, process, data.correction)
        return costs

    def technique_plans(self, screening: Screening) -> list[ComposedPlan]:
        """Plans of all techniques that are wanted, of designs that were measured as they are."""
        taps = TapPreparation(self._evaluator, screening.data, screening.problem)
        found: list[ComposedPlan] = []
        for name, technique in TECHNIQUES.items():
            if technique.plans is None or not technique.wanted(self._job.spec.techniques):
                continue
            try:
                with one_step():
                    found += self._plans_of(technique.plans(self._evaluator, screening, taps))
            except ENDS_JOB:
                raise
            except TrimtabError as error:
                self._job.journal.note("error", name, f"left out: {error}")
        return found

    def _plans_of(self, generator: PlanGenerator[Any, Any]) -> list[ComposedPlan]:
        designs = generator.designs()
        self._job.remember(**generator.summary())

        def measure(number: int, visit: int) -> MeasurementRecord:
            built = designs[number]
            return self._evaluator.measurements.measurement(
                built.parts, visit, built.structure.memory, built.structure.router
            )

        visits = measure_twice([d.text for d in designs], measure, self._job.journal)
        return generator.plans(
            [(designs[n], generator.costs(designs[n], told)) for n, told in visits.items()]
        )

    def store_plans(self, selection: Selection, verifier: BundleVerifier | None) -> None:
        records = verifier.records if verifier is not None else {}
        measured = {key: found.values for key, found in records.items()}
        job_id, plans, metrics = self.job_id, [], []
        for plan in selection.plans:
            reported = plan.is_reported or plan.key in measured
            report = self._reports.of(plan, selection.baseline) if reported else None
            breakdown = report.breakdown if report else self._reports.on_tune(plan)
            points = self.selector.family(selection, plan)
            plans.append(
                plan_record(
                    job_id,
                    plan,
                    self.selector.evaluator,
                    self.variants,
                    breakdown,
                    points,
                    self._cautions(selection) if plan.is_chosen else (),
                )
            )
            metrics += decided_metrics(job_id, plan)
            if report is not None:
                metrics += reported_metrics(job_id, plan, report)
            metrics += predicted_metrics(job_id, plan, self._reports.predicted(plan))
            metrics += measured_metrics(job_id, plan, measured.get(plan.key, {}))
        told = with_intervals(metrics, self._errors, measured)
        self._job.store.replace_plans(job_id, plans, told)

    def _put_corrections(self, learned: Mapping[str, Learned]) -> None:
        job = self._job
        job.store.put_corrections(
            CorrectionRecord(
                job_id=job.job_id,
                metric=metric,
                device_key=device_key(job.fingerprint),
                model=dict(lesson.model),
                plans=lesson.plans,
                error_before=lesson.error_before,
                error_held_out=lesson.error_held_out,
            )
            for metric, lesson in learned.items()
        )

    def _cautions(self, selection: Selection) -> list[str]:
        """What the chosen plan's accuracy hides."""
        if selection.chosen is None:
            return []
        return class_cautions(self.selector.evaluator, selection.chosen, selection.baseline)
