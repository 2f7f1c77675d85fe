"""The best plans, exported and run: the very bundle, on the device, over the test split."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from db import PlanMetricRecord, Store, VerificationRecord
from planner.choosing import Choice, Judged
from planner.export import BundleParts, write_bundle
from planner.journal import Journal
from planner.measuring import Measured
from profilers import Device, ProbeResult
from search.fronts import spread
from trimtab_runtime.definition import OperatingPoint, Variant
from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.metrics import PERCENTILE_MIN_SAMPLES
from trimtab_runtime.probe.requests import VerifyRequest
from workloads import Item

_POINTS = 16
_GOLDEN_CANDIDATES = 24


@dataclass(frozen=True)
class Verifier:
    """Exports plans and runs them. `items` are the inputs that the rows of a choice index."""

    job_id: str
    store: Store
    device: Device
    journal: Journal
    choice: Choice
    measured: Sequence[Measured]
    items: Sequence[Item]
    labels: Sequence[str]
    fingerprint: Mapping[str, str]

    def verify(self, count: int) -> None:
        """Verify the chosen plan, the baseline, and plans that span the front: `count` more at
        most. A plan that fails is recorded, and the rest goes on."""
        plans = self._selection(count)
        known = {v.plan_key: v for v in self.store.list_verifications(self.job_id)}
        for number, plan in enumerate(plans):
            self.journal.step("verify", plan.label, number, len(plans))
            try:
                bundle = self.bundle(plan)
                done = known.get(plan.key)
                if done is None or done.state != "ok" or done.bundle_sha256 != bundle.name:
                    done = self._verify_one(plan, bundle)
                self._put_metrics(plan, done.values)
            except TrimtabError as error:
                self.journal.note("error", plan.label, f"verification failed: {error}")
                failed = VerificationRecord(
                    self.job_id, plan.key, None, {}, {}, "failed", str(error)
                )
                self.store.put_verification(failed)
        self.journal.step("verify", "", len(plans), len(plans))

    def _selection(self, count: int) -> list[Judged]:
        always = [p for p in (self.choice.chosen, self.choice.baseline_plan) if p is not None]
        front = [plan for plan in self.choice.plans if plan.on_front]
        costs = [[o.cost(p.values[o.metric]) for o in self.choice.objectives] for p in front]
        spanning = [front[i] for i in spread(np.array(costs), count)] if count else []
        return list({plan.key: plan for plan in [*always, *spanning]}.values())

    def bundle(self, plan: Judged) -> Path:
        """The plan as a file of the artefact store."""
        parts = self.parts(plan)
        with tempfile.TemporaryDirectory(prefix="trimtab-bundle-") as folder:
            made = write_bundle(parts, Path(folder) / f"{plan.key[:12]}.pyz")
            artefact = self.store.save_file(made, kind="bundle", name=made.name)
        return self.store.artefacts.path(artefact.sha256)

    def parts(self, plan: Judged) -> BundleParts:
        """What the plan's bundle is made of: its points are those of the front that share its
        structure."""
        siblings = [
            other
            for other in self.choice.plans
            if other.definition.structure == plan.definition.structure
            and (other is plan or other.on_front)
        ]
        others = [other for other in siblings if other is not plan][: _POINTS - 1]
        points = sorted([plan, *others], key=lambda p: p.values["latency_mean_ms"])
        variants: dict[str, Variant] = {}
        models: dict[str, Path] = {}
        for found in self.measured:
            variants[found.built.variant.sha256] = found.built.variant
            models[found.built.variant.sha256] = found.built.path
        return BundleParts(
            name=plan.label,
            definition=plan.definition,
            points=[OperatingPoint(p.definition.thresholds, p.values) for p in points],
            variants=variants,
            models=models,
            labels=self.labels,
            images=[self.items[row].path for row in self.choice.rows.fit[:_GOLDEN_CANDIDATES]],
            fingerprint=self.fingerprint,
        )

    def _verify_one(self, plan: Judged, bundle: Path) -> VerificationRecord:
        rows = self.choice.rows.test
        images = tuple(self.device.put(self.items[row].path) for row in rows)
        path = self.device.put(bundle)
        result = self.device.probe(VerifyRequest(path, images, output=""), bundle=path)
        expected = self.choice.replayed_on(plan, "test")
        same = (result.arrays["index"] == expected.answer) & (
            result.arrays["stage"] == expected.stage
        )
        values = self._values(result, bundle)
        values["answer_mismatch"] = 1.0 - float(same.mean())
        samples = {
            "latency_ms": result.arrays["latency_ms"].tolist(),
            "reference_ms": list(result.samples["reference_ms"]),
        }
        record = VerificationRecord(self.job_id, plan.key, bundle.name, values, samples)
        self.store.put_verification(record)
        return record

    def _values(self, result: ProbeResult, bundle: Path) -> dict[str, float]:
        """Latency scaled by the reference to the clock of the measurements; and as it was."""
        factor = self.choice.reference_ms / float(np.median(result.samples["reference_ms"]))
        latency = result.arrays["latency_ms"] * factor
        found = {
            **result.values,
            "latency_mean_ms": float(latency.mean()),
            "drift": 1.0 / factor,
            "bundle_size_mb": bundle.stat().st_size / 2**20,
        }
        for percentile, needed in PERCENTILE_MIN_SAMPLES.items():
            if len(latency) >= needed:
                found[f"latency_p{percentile}_ms"] = float(np.percentile(latency, percentile))
        return found

    def _put_metrics(self, plan: Judged, values: Mapping[str, float]) -> None:
        predicted = self.choice.predicted(plan, "test")
        names = {name for name in values if name in plan.values or name in predicted}
        self.store.put_plan_metrics(
            PlanMetricRecord(self.job_id, plan.key, name, "test", "measured", values[name])
            for name in sorted(names)
        )
