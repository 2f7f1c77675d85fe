"""Verification of one bundle on several devices: one record, which is 'ok' once it ran on all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from trimtab.db import Store, VerificationRecord
from trimtab.planner.bundles.export import keep_bundle
from trimtab.planner.bundles.verification import BundleVerifier
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.jobs.steps import ENDS_JOB, one_step
from trimtab.planner.pipeline.multi_device.plans import joint, worst
from trimtab.planner.selection.paired import disturbances
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.search.costs.correction import Pair
from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.metrics import METRICS

#: The share of answers that differ from the replay: no metric, and shown all the same.
_MISMATCH = "answer_mismatch"


class Each(Protocol):
    """Works at the same time for all devices."""

    def __call__(self, work: Callable[[int], Any], items: Sequence[int]) -> list[Any]: ...


class VerificationLedger:
    """How the bundles of a job did on its devices (`names`), kept in the store as it comes in.

    A record's `details["devices"]` has the state, reason, values and details of each device that
    it ran on, its `samples` theirs as NAME@DEVICE, its `values` the worst.
    """

    def __init__(self, store: Store, job_id: str, names: Sequence[str]) -> None:
        self._store, self._job_id, self._names = store, job_id, names
        self._mutex = threading.Lock()

    def known(self, name: str) -> dict[str, VerificationRecord]:
        """What ran on one device, by the keys of plans."""
        found = {}
        for record in self._store.list_verifications(self._job_id):
            told = record.details.get("devices", {}).get(name)
            if told is not None:
                found[record.plan_key] = VerificationRecord(
                    self._job_id,
                    record.plan_key,
                    record.bundle_sha256,
                    told["values"],
                    _samples_of(record, name),
                    told["state"],
                    told["reason"],
                    record.created_at,
                    told["details"],
                )
        return found

    def keep(self, name: str, record: VerificationRecord) -> None:
        """Add how a bundle did on one device."""
        told = {
            "state": record.state,
            "reason": record.reason,
            "values": dict(record.values),
            "details": dict(record.details),
        }
        samples = {f"{what}@{name}": values for what, values in record.samples.items()}
        with self._mutex:
            held = self._held(record)
            devices = {**(held.details["devices"] if held else {}), name: told}
            kept = {k: v for k, v in (held.samples if held else {}).items() if _on(k) != name}
            bundle = record.bundle_sha256 or (held.bundle_sha256 if held else None)
            joined = self._joined(record.plan_key, bundle, devices, {**kept, **samples})
            self._store.put_verification(joined, replace=True)

    def _held(self, record: VerificationRecord) -> VerificationRecord | None:
        """What is known of the plan already, unless it is of another file."""
        for held in self._store.list_verifications(self._job_id):
            same = len({record.bundle_sha256, held.bundle_sha256} - {None}) < 2
            if held.plan_key == record.plan_key and same and "devices" in held.details:
                return held
        return None

    def _joined(
        self,
        plan_key: str,
        bundle: str | None,
        devices: Mapping[str, Mapping[str, Any]],
        samples: dict[str, list[float]],
    ) -> VerificationRecord:
        problems = [
            f"{name}: {devices[name]['reason'] if name in devices else 'did not run there yet'}"
            for name in self._names
            if name not in devices or devices[name]["state"] != "ok"
        ]
        values: dict[str, float] = {}
        if not problems:
            found = [devices[name]["values"] for name in self._names]
            values = worst([{n: v for n, v in one.items() if n in METRICS} for one in found])
            values[_MISMATCH] = max(one[_MISMATCH] for one in found)
        warnings = [
            f"{name}: {text}"
            for name in self._names
            for text in disturbances(devices.get(name, {}).get("details", {}))
        ]
        return VerificationRecord(
            self._job_id,
            plan_key,
            bundle,
            values,
            samples,
            "failed" if problems else "ok",
            "; ".join(problems) or None,
            details={"devices": dict(devices), "warnings": warnings},
        )


@dataclass
class PlaceVerifier(BundleVerifier):
    """Runs `bundles`, by the keys of plans, on the device that is called `name`."""

    name: str = field(kw_only=True)
    ledger: VerificationLedger = field(kw_only=True)
    bundles: Mapping[str, Path] = field(kw_only=True, default_factory=dict)

    def _known(self) -> dict[str, VerificationRecord]:
        return self.ledger.known(self.name)

    def _bundle(self, plan: PlanCandidate, golden: Sequence[Path]) -> Path:
        return self.bundles[plan.key]

    def _keep(self, record: VerificationRecord, replace: bool) -> None:
        self.ledger.keep(self.name, record)


@dataclass
class JointVerifier:
    """Runs the very same bundles on all devices, by the `verifiers` of each; `golden` are images
    for their self-test."""

    verifiers: Sequence[PlaceVerifier]
    golden: Sequence[Path]
    store: Store
    journal: Journal
    each: Each
    unbundled: set[str] = field(default_factory=set)

    @property
    def verified(self) -> Collection[str]:
        """Keys of the plans that ran on all devices."""
        return set.intersection(*(set(verifier.records) for verifier in self.verifiers))

    @property
    def failed(self) -> Collection[str]:
        return self.unbundled.union(*(verifier.failed for verifier in self.verifiers))

    @property
    def pairs(self) -> list[Mapping[str, Mapping[str, Pair]]]:
        """Those of each device."""
        return [verifier.pairs for verifier in self.verifiers]

    def values(self, key: str) -> list[Mapping[str, float]]:
        """What a plan that was verified measured on each device."""
        return [verifier.records[key].values for verifier in self.verifiers]

    def verify(self, plans: Sequence[PlanCandidate]) -> None:
        bundles = {}
        for plan in plans:
            try:
                job = self.verifiers[0].job
                with one_step():
                    bundles[plan.key] = keep_bundle(self.store, job, plan.key, self.golden)
            except ENDS_JOB:
                raise
            except TrimtabError as error:
                self.unbundled.add(plan.key)
                self.journal.note("error", plan.label, f"cannot be exported: {error}")

        def work(number: int) -> None:
            self.verifiers[number].bundles = bundles
            self.verifiers[number].verify(
                [plan.parts[number] for plan in joint(plans) if plan.key in bundles]
            )

        self.each(work, range(len(self.verifiers)))


def _samples_of(record: VerificationRecord, name: str) -> dict[str, list[float]]:
    return {k.partition("@")[0]: v for k, v in record.samples.items() if _on(k) == name}


def _on(sample: str) -> str:
    """The device of a sample; its name may hold an @ (user@host), what is sampled does not."""
    return sample.partition("@")[2]
