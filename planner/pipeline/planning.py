"""From measured candidates to a verified choice: screen, measure together, choose, verify."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from trimtab.db import CorrectionRecord, ExposureRecord, MeasurementRecord, Store
from trimtab.planner.bundles.verification import BundleVerifier
from trimtab.planner.cache.measurements import StageSetup
from trimtab.planner.candidates.measured import Measured
from trimtab.planner.selection.class_cautions import class_cautions
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.planner.selection.records import (
    decided_metrics,
    measured_metrics,
    plan_record,
    reported_metrics,
)
from trimtab.planner.selection.selector import PlanSelector
from trimtab.planner.techniques.early_exits.plans import BuiltExitDesign, EarlyExitTechnique
from trimtab.planner.techniques.early_exits.taps import TapPreparation
from trimtab.planner.techniques.routing.plans import RoutingTechnique
from trimtab.profilers import DeviceLost
from trimtab.profilers.device import device_key
from trimtab.search.costs.cascade import CascadeCosts
from trimtab.search.costs.correction import Correction, Learned
from trimtab.search.plans.plan import ComposedPlan, StageOption
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import StoreError, TrimtabError

if TYPE_CHECKING:
    from trimtab.planner.pipeline.run import Run

#: How often the choice may move to a plan that has to be verified first.
ROUNDS = 3


class PlanningStage:
    """The second half of a run: everything after the candidates were measured one by one."""

    def __init__(
        self, run: Run, measured: Sequence[Measured], agreed: Sequence[StageOption] = ()
    ) -> None:
        self._run, self._store, self._journal = run, run.store, run.journal
        self.variants = {m.built.variant.sha256: m.built.variant for m in measured}
        self.choice = PlanSelector(
            run.spec, measured, run.rows, self._earlier_correction(), agreed
        )
        self._tapping: TapPreparation | None = None

    def decide(self) -> None:
        """Leaves a verified choice, and all that is known of the plans, in the store."""
        choice, run = self.choice, self._run
        self._journal.step("search", "composing plans", 0, 1)
        groups = choice.screen(run.spec.together)
        self._journal.step("search", "", 1, 1)
        costs = self.measured_together(groups)
        choice.judge(costs, [*self._early_plans(), *self._routed_plans()])
        self._store_plans({})
        count_exposure(self._store, run.job_id, run.workload.key, choice.plans)
        verifier = BundleVerifier(
            run.record, run.store, run.device, run.journal, choice, run.items
        )
        learned = self._verify(verifier)
        self._store_plans({key: found.values for key, found in verifier.records.items()})
        self._put_corrections(learned)
        self._summarise()

    def measured_together(
        self, groups: Sequence[tuple[int, ...]]
    ) -> dict[tuple[int, ...], CascadeCosts]:
        """What stages cost beside those that they will live with."""
        parts = [[self.choice.measured[index] for index in group] for group in groups]
        labels = [" + ".join(part.candidate.label for part in group) for group in parts]

        def measure(number: int, visit: int) -> MeasurementRecord:
            return self._run.profiles.measurement(
                [StageSetup(part.built, part.candidate.options) for part in parts[number]], visit
            )

        visits = self._twice(labels, measure)
        self._journal.step("together", "", 1, 1)
        warned = [record.warnings for found in visits.values() for record in found]
        disturbed = [warnings for warnings in warned if warnings]
        if disturbed:
            text = f"{len(disturbed)} of {len(warned)} were disturbed, e.g. {disturbed[0][0]}"
            self._journal.note("warning", "measurements together", text)
        measured = ((groups[number], found) for number, found in visits.items())
        return {group: self.choice.costs_together(group, found) for group, found in measured}

    def _twice(
        self, labels: Sequence[str], measure: Callable[[int, int], MeasurementRecord]
    ) -> dict[int, list[MeasurementRecord]]:
        """Both visits of what `measure(number, visit)` measures, by the numbers of its `labels`.
        What cannot be measured is left out, with a note.

        The second time is in reverse order, so that a slow change of the machine falls on all
        alike.
        """
        visits: dict[int, list[MeasurementRecord]] = {n: [] for n in range(len(labels))}
        order = [*visits, *reversed(visits)]
        for done, number in enumerate(order):
            self._journal.step("together", labels[number], done, len(order))
            if number in visits:
                try:
                    visits[number].append(measure(number, 1 + done // len(labels)))
                except (StoreError, DeviceLost):
                    raise
                except TrimtabError as error:
                    del visits[number]
                    self._journal.note("error", labels[number], f"left out: {error}")
        return visits

    def _early_plans(self) -> list[ComposedPlan]:
        """Plans that stop early, of designs that were measured as they are."""
        techniques = self._run.spec.techniques
        if not (techniques.exits or techniques.memory):
            return []
        early = EarlyExitTechnique(self._run, self.choice)
        designs = early.designs()
        self._tapping = early.tapping
        self._run.remember(early=early.summary())
        self._measure_early(early, designs)
        return early.plans(designs)

    def _measure_early(
        self, early: EarlyExitTechnique, designs: Sequence[BuiltExitDesign]
    ) -> None:
        """What designs cost, measured as they are."""

        def measure(number: int, visit: int) -> MeasurementRecord:
            design = designs[number]
            return self._run.profiles.measurement(design.parts, visit, design.structure.memory)

        for number, records in self._twice([d.design.text for d in designs], measure).items():
            designs[number].costs = early.costs(designs[number], records)

    def _routed_plans(self) -> list[ComposedPlan]:
        """Plans with a premodel or with learned deferral, measured as they are."""
        if not self._run.spec.techniques.premodel:
            return []
        routed = RoutingTechnique(self._run, self.choice, self._tapping)
        designs = routed.designs()
        self._run.remember(routed=routed.looking.reasons)

        def measure(number: int, visit: int) -> MeasurementRecord:
            design = designs[number]
            return self._run.profiles.measurement(
                design.parts, visit, router=design.structure.router
            )

        for number, records in self._twice([d.text for d in designs], measure).items():
            designs[number].costs = routed.costs(designs[number], records)
        return routed.plans(designs)

    def _verify(self, verifier: BundleVerifier) -> Mapping[str, Learned]:
        """Verify, and let what the bundles measured have the last word on what is chosen."""
        choice, before = self.choice, self.choice.chosen
        verifier.verify(choice.selection(self._run.spec.verify))
        for number in range(ROUNDS):
            last = number == ROUNDS - 1
            learned = choice.confirm(verifier.pairs, verifier.failed, last)
            if choice.chosen is None or choice.chosen.key in verifier.records:
                break
            verifier.verify([choice.chosen])
        after = choice.chosen
        if before is not None and after is not before:
            ratio = before.factor("latency_mean_ms")
            said = f"measured {ratio:.2f} times the predicted latency"
            why = "could not be verified" if before.key in verifier.failed else said
            name = after.label if after else "no plan"
            self._journal.note(
                "warning", before.label, f"its bundle {why}, so {name} is chosen instead"
            )
        return learned

    def _store_plans(self, measured: Mapping[str, Mapping[str, float]]) -> None:
        """Replace the job's plans and their figures; `measured` by the keys of plans."""
        choice, job_id = self.choice, self._run.job_id
        plans, metrics = [], []
        for judged in choice.plans:
            points = choice.family(judged)
            plans.append(
                plan_record(job_id, judged, choice, self.variants, self._run.items, points)
            )
            metrics += decided_metrics(job_id, judged)
            if judged.is_reported or judged.key in measured:
                metrics += reported_metrics(job_id, judged, choice, judged.key in measured)
            metrics += measured_metrics(job_id, judged, measured.get(judged.key, {}))
        self._store.replace_plans(job_id, plans, metrics)

    def _earlier_correction(self) -> Correction:
        """What earlier jobs learned on this device. A job that goes on keeps what it began with,
        so that it decides as it did."""
        run = self._run
        models = run.record.summary.get("correction")
        if models is None:
            records = self._store.list_corrections(device_key=device_key(run.fingerprint))
            earlier = [record for record in records if record.job_id != run.job_id]
            models = {record.metric: record.model for record in reversed(earlier)}
            run.remember(correction=models)
        return Correction(models)

    def _put_corrections(self, learned: Mapping[str, Learned]) -> None:
        run = self._run
        self._store.put_corrections(
            CorrectionRecord(
                job_id=run.job_id,
                metric=metric,
                device_key=device_key(run.fingerprint),
                model=dict(lesson.model),
                plans=lesson.plans,
                error_before=lesson.error_before,
                error_held_out=lesson.error_held_out,
            )
            for metric, lesson in learned.items()
        )

    def _summarise(self) -> None:
        choice = self.choice
        if choice.chosen is not None:
            for text in class_cautions(choice, choice.chosen):
                self._journal.note("warning", choice.chosen.label, text)
        self._run.slimming.report(choice)
        self._run.remember(
            plans=len(choice.plans),
            front=sum(judged.on_front for judged in choice.plans),
            chosen=choice.chosen.key if choice.chosen else None,
            nearest=choice.nearest.key if choice.nearest else None,
            baseline=choice.baseline_plan.key,
            quality=choice.quality,
            objectives=[objective.metric for objective in choice.objectives],
            reference_ms=choice.reference_ms,
        )


def count_exposure(
    store: Store, job_id: str, workload_key: str, plans: Sequence[PlanCandidate]
) -> None:
    """Test was looked at; the same look of a job that goes on, or runs again, counts once."""
    reason = f"report {content_key(sorted(plan.key for plan in plans))[:12]}"
    seen = store.list_exposures(workload_key=workload_key)
    if not any((look.job_id, look.reason) == (job_id, reason) for look in seen):
        store.add_exposure(ExposureRecord(job_id, workload_key, "test", reason, len(plans)))
