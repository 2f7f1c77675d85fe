"""Building, measuring and tracing one candidate."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import onnxruntime

from trimtab.planner.cache.measurements import MeasurementCache, StageSetup, settings_for
from trimtab.planner.cache.traces import TraceCache, TracedImages
from trimtab.planner.cache.variants import StoredVariant, VariantCache
from trimtab.planner.candidates.measured import Measured
from trimtab.planner.jobs.context import JobContext
from trimtab.planner.jobs.dataset import SplitRows, equipping_inputs, named_metrics, used_inputs
from trimtab.search.candidates.candidate import Candidate, VariantForm
from trimtab.search.estimates.targets import Ints, Targets
from trimtab.workloads import Item


class VariantMaker(Protocol):
    """Makes float variants of members, one after another."""

    def variant(self, member: StoredVariant, number: int) -> StoredVariant:
        """Variant `number` (from 1) of an original model. Raises NothingToSlim where there is
        none, StoreError, or DeviceError."""

    def report(
        self,
        measured: Sequence[Measured],
        targets: Mapping[str, Targets],
        quality: Sequence[str],
    ) -> None:
        """Tell in the job's summary how good variants are, alone, by split and metric."""


@dataclass(frozen=True)
class CandidateEvaluator:
    """What candidates of a job are built, measured and traced with. `items` are the job's inputs,
    `rows` their splits, `equip_labels` the labels of the images that exits are fitted on."""

    job: JobContext
    items: Sequence[Item]
    rows: SplitRows
    equip_labels: Ints | None
    variants: VariantCache
    traces: TraceCache
    measurements: MeasurementCache
    makers: Mapping[str, VariantMaker]

    @classmethod
    def of(
        cls,
        job: JobContext,
        makers: Mapping[str, Callable[[CandidateEvaluator], VariantMaker]],
    ) -> CandidateEvaluator:
        """Read the inputs of a job. `makers` make variants by the name of their step."""
        folder = Path(tempfile.mkdtemp(prefix="trimtab-frames-"))  # of the job's scratch folder
        items, rows = used_inputs(job.workload, job.splits, job.spec, folder)
        equip, equip_labels = equipping_inputs(job.workload, job.splits, job.spec)
        tune = [items[row] for row in rows.tune]
        inputs = TracedImages.choose(job.workload.key, items, tune, equip)
        settings = job.settings or settings_for(metric for _, metric in named_metrics(job.spec))
        made: dict[str, VariantMaker] = {}
        evaluator = cls(
            job,
            items,
            rows,
            equip_labels,
            VariantCache(
                job.store,
                job.journal,
                [items[row] for row in rows.fit],
                job.spec.budget.stall_seconds,
                device=job.device,
                engine=job.fingerprint.get("onnxruntime", onnxruntime.__version__),
            ),
            TraceCache(job.store, job.device, job.fingerprint, inputs, job.journal),
            MeasurementCache(
                job.store,
                job.device,
                job.fingerprint,
                inputs.measured_on,
                job.journal,
                settings,
                job.spec.workload.largest_pixels,
            ),
            made,
        )
        made.update((name, make(evaluator)) for name, make in makers.items())
        return evaluator

    def evaluate(self, candidate: Candidate, member: StoredVariant) -> Measured:
        """Build, measure and trace. Raises the TrimtabError of a failure."""
        built = self.built(member, candidate.form)
        measurement = self.measurements.measurement([StageSetup(built, candidate.options)])
        for warning in measurement.warnings:
            self.job.journal.note("warning", candidate.label, warning)
        outputs = self.traces.trace(built, candidate.options)
        return Measured(candidate, built, measurement, outputs)

    def built(self, member: StoredVariant, form: VariantForm) -> StoredVariant:
        """A member in a form, built or found. Raises the TrimtabError of a failure."""
        found = member
        if form.technique:
            found = self.makers[form.technique].variant(member, int(form.number))
        if form.size:
            found = self.variants.resized(found, (form.size[0], form.size[1]))
        return self.variants.quantised(found, form.scheme) if form.scheme else found
