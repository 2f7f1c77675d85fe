"""The best plans, exported and run: the very bundle, on the device, over the test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from db import JobRecord, PlanMetricRecord, Store, VerificationRecord
from planner.choosing import Choice, Judged
from planner.journal import Journal
from planner.shipping import keep_bundle
from profilers import Device, ProbeResult
from search.costs import pace_ms
from search.fronts import spread
from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.metrics import PERCENTILE_MIN_SAMPLES
from trimtab_runtime.probe.requests import VerifyRequest
from workloads import Item


@dataclass(frozen=True)
class Verifier:
    """Exports plans and runs them. `items` are the inputs that the rows of a choice index."""

    job: JobRecord
    store: Store
    device: Device
    journal: Journal
    choice: Choice
    items: Sequence[Item]

    def verify(self, count: int) -> dict[str, float]:
        """Verify the chosen plan, the baseline, and plans that span the front: `count` more at
        most. A plan that fails is recorded, and the rest goes on. Returns, by the keys of plans,
        the measured latency relative to what was predicted for the same inputs."""
        plans = self._selection(count)
        golden = [self.items[row].path for row in self.choice.rows.fit]
        known = {v.plan_key: v for v in self.store.list_verifications(self.job.id)}
        ratios: dict[str, float] = {}
        for number, plan in enumerate(plans):
            self.journal.step("verify", plan.label, number, len(plans))
            try:
                bundle = keep_bundle(self.store, self.job, plan.key, golden)
                done = known.get(plan.key)
                if done is None or done.state != "ok" or done.bundle_sha256 != bundle.name:
                    done = self._verify_one(plan, bundle)
                predicted = self.choice.predicted(plan, "test")
                self._put_metrics(plan, done.values, predicted)
                measured_ms = done.values["latency_mean_ms"]
                ratios[plan.key] = measured_ms / predicted["latency_mean_ms"]
            except TrimtabError as error:
                self.journal.note("error", plan.label, f"verification failed: {error}")
                failed = VerificationRecord(
                    self.job.id, plan.key, None, {}, {}, "failed", str(error)
                )
                self.store.put_verification(failed)
        self.journal.step("verify", "", len(plans), len(plans))
        return ratios

    def _selection(self, count: int) -> list[Judged]:
        always = [p for p in (self.choice.chosen, self.choice.baseline_plan) if p is not None]
        front = [plan for plan in self.choice.plans if plan.on_front]
        costs = [[o.cost(p.values[o.metric]) for o in self.choice.objectives] for p in front]
        spanning = [front[i] for i in spread(np.array(costs), count)] if count else []
        return list({plan.key: plan for plan in [*always, *spanning]}.values())

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
        record = VerificationRecord(self.job.id, plan.key, bundle.name, values, samples)
        self.store.put_verification(record, replace=True)
        return record

    def _values(self, result: ProbeResult, bundle: Path) -> dict[str, float]:
        """Latency scaled by the reference to the clock of the measurements; and as it was."""
        factor = self.choice.reference_ms / pace_ms(result.samples["reference_ms"])
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

    def _put_metrics(
        self, plan: Judged, values: Mapping[str, float], predicted: Mapping[str, float]
    ) -> None:
        names = {name for name in values if name in plan.values or name in predicted}
        self.store.put_plan_metrics(
            PlanMetricRecord(self.job.id, plan.key, name, "test", "measured", values[name])
            for name in sorted(names)
        )
