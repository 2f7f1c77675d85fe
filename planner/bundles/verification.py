"""Verification: bundles of the best plans are exported and run on the device, each over its
images, then all of them in turns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.db import JobRecord, Store, VerificationRecord
from trimtab.planner.bundles.export import keep_bundle
from trimtab.planner.bundles.turn_taking import PAIRED, Entrant, TurnTaking
from trimtab.planner.bundles.turns import TESTED, Stretch
from trimtab.planner.cache.disturbance import assess_bundle
from trimtab.planner.cache.measurements import steadiest
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.jobs.steps import ENDS_JOB, one_step
from trimtab.planner.selection.evaluation import PlanEvaluator
from trimtab.planner.selection.paired import PairedFigures, disturbances
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.planner.specification.sections import largest_pixels
from trimtab.profilers import Device
from trimtab.search.costs.correction import Pair, corrected_metrics
from trimtab.search.costs.pace import followed, pace_ms, reference_of
from trimtab.search.costs.stage import Visit
from trimtab.search.replay.cascade import Replay
from trimtab.search.replay.stateful import StatefulReplay
from trimtab.workloads import Item
from trimtab_runtime.definitions.exits import NO_MEMORY
from trimtab_runtime.errors import PlanningError, TrimtabError
from trimtab_runtime.metrics import PERCENTILE_MIN_SAMPLES, find_metric
from trimtab_runtime.probe.requests import TurnSettings, VerifyRequest

#: Images of `tune` that run before those of `test`: what is learned from bundles and decided by
#: it is timed on them alone.
TIMED_ON_TUNE = 152
_ATTEMPTS = 2

Floats = NDArray[np.float64]


class _Differs(PlanningError):
    """A bundle does not answer as it should."""


@dataclass
class BundleVerifier:
    """Exports plans and runs them over some of `tune` and all of `test`, then in turns with the
    `baseline`. `items` are the inputs that the rows of a choice index; `memory_mb` is the device's
    (None: unknown), `turns` say how long turns last.

    By the keys of plans: `records` of those that ran, `pairs` of costs predicted and measured on
    `tune` by metric, and the `failed` ones. Plans get to know how they did in turns (`paired`).
    """

    job: JobRecord
    store: Store
    device: Device
    journal: Journal
    evaluator: PlanEvaluator
    items: Sequence[Item]
    baseline: str
    memory_mb: float | None = None
    turns: TurnSettings = field(default_factory=TurnSettings)
    records: dict[str, VerificationRecord] = field(default_factory=dict)
    pairs: dict[str, dict[str, Pair]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    _entrants: dict[str, Entrant] = field(default_factory=dict, init=False)

    def verify(self, plans: Sequence[PlanCandidate]) -> None:
        """Verify those that were not yet. A plan that fails is recorded, and the rest goes on.
        What was done already, by this run or before, is not done again."""
        golden = [self.items[row].path for row in self.evaluator.data.rows.fit]
        known = self._known()
        for number, plan in enumerate(plans):
            self.journal.step("verify", plan.label, number, len(plans))
            try:
                with one_step():
                    bundle = self._bundle(plan, golden)
                    done = known.get(plan.key)
                    if done is None or done.state != "ok" or done.bundle_sha256 != bundle.name:
                        done = self._verify_one(plan, bundle)
                    self._check_answers(done)
                    self.records[plan.key] = done
            except ENDS_JOB:
                raise
            except TrimtabError as error:
                self._fail(plan, error)
        self.journal.step("verify", "", len(plans), len(plans))
        verified = [plan for plan in plans if plan.key in self.records]
        rows = [*self._timed, *self.evaluator.data.rows.test[:TESTED]]
        stretch = Stretch([self.items[row].path for row in rows], len(self._timed))
        self._entrants |= {plan.key: self._entrant(plan) for plan in verified}
        wanted = (self.baseline, *(plan.key for plan in verified))
        TurnTaking(
            self.device,
            self.store,
            self.journal,
            self.records,
            self._keep,
            stretch,
            self.baseline,
            self.memory_mb,
            self.turns,
        ).take({key: self._entrants[key] for key in wanted if key in self._entrants})
        for plan in verified:
            done = self.records[plan.key]
            try:
                self._check_turns(plan, done)
            except _Differs as error:
                del self.records[plan.key]
                self._fail(plan, error)
                continue
            plan.paired = PairedFigures.read(done.details)
            self.pairs[plan.key] = self._pairs(plan, done)

    @property
    def verified(self) -> Collection[str]:
        """The keys of plans that ran."""
        return self.records.keys()

    def _entrant(self, plan: PlanCandidate) -> Entrant:
        """What it took alone tells which images are harder: of those of a split that go the same
        way through the plan the mean. Where an earlier version timed others, all are alike."""
        parts = [self._timed, self.evaluator.data.rows.test]
        ways = [_ways(self.evaluator.replayed(plan, part)) for part in parts]
        alone_ms = np.array(self.records[plan.key].samples.get("latency_ms", ()))
        count = sum(map(len, ways))
        if len(alone_ms) != count:
            return Entrant(plan.label, np.ones(count))
        # Each split for itself: what test took is no part of what plans are decided by.
        times = np.split(alone_ms, [len(self._timed)])
        expected = [_means(own, took) for own, took in zip(ways, times, strict=True)]
        return Entrant(plan.label, np.concatenate(expected))

    def _fail(self, plan: PlanCandidate, error: TrimtabError) -> None:
        self.failed.add(plan.key)
        self.journal.note("error", plan.label, f"verification failed: {error}")
        failed = VerificationRecord(self.job.id, plan.key, None, {}, {}, "failed", str(error))
        self._keep(failed, isinstance(error, _Differs))

    def _known(self) -> dict[str, VerificationRecord]:
        """Earlier verifications, by the keys of plans."""
        return {v.plan_key: v for v in self.store.list_verifications(self.job.id)}

    def _bundle(self, plan: PlanCandidate, golden: Sequence[Path]) -> Path:
        return keep_bundle(self.store, self.job, plan.key, golden)

    def _keep(self, record: VerificationRecord, replace: bool) -> None:
        """Keep how a bundle did; unless it is to `replace` that, a success stays."""
        self.store.put_verification(record, replace=replace)

    @property
    def _timed(self) -> NDArray[np.int64]:
        return self.evaluator.data.rows.tune[:TIMED_ON_TUNE]

    def _verify_one(self, plan: PlanCandidate, bundle: Path) -> VerificationRecord:
        parts = (self._timed, self.evaluator.data.rows.test)
        rows = np.concatenate(parts)
        images = tuple(self.device.put(self.items[row].path) for row in rows)
        path = self.device.put(bundle)
        edge = len(self._timed)
        request = VerifyRequest(
            path,
            images,
            output="",
            deciding=edge,
            reset_at=(0, edge),
            largest_pixels=largest_pixels(self.job.spec),
        )
        result = steadiest(self.device, request, _ATTEMPTS, self.journal, path, assess_bundle)
        for warning in result.warnings:
            self.journal.note("warning", plan.label, warning)
        expected = [self.evaluator.replayed(plan, part) for part in parts]
        differs = np.concatenate([part.answer for part in expected]) != result.arrays["index"]
        differs |= np.concatenate([part.stage for part in expected]) != result.arrays["stage"]
        for name in ("tap", "by", "entry"):
            told = [getattr(part, name, None) for part in expected]
            known = [values for values in told if values is not None]
            if known:
                differs |= np.concatenate(known) != result.arrays[name]
        # To the pace of the measurements, as far as the latency followed the reference work.
        data, visit = self.evaluator.data, Visit(result.values, result.samples)
        latency = result.arrays["latency_ms"]
        found = followed(latency, reference_of(visit))
        moved = latency * data.pace.factor(visit, found)
        timed, tested = moved[:edge], moved[edge:]
        values = {
            **result.values,
            **_latency(tested),
            "tune_latency_mean_ms": float(timed.mean()),
            "drift": pace_ms(result.samples["reference_ms"]) / data.reference_ms,
            "reference_explained": found.explained,
            "bundle_size_mb": bundle.stat().st_size / 2**20,
            "answer_mismatch": float(differs.mean()),
        }
        samples = {
            "latency_ms": latency.tolist(),
            **{name: list(times) for name, times in result.samples.items()},
        }
        details: dict[str, Any] = {**result.details, "warnings": result.warnings, PAIRED: None}
        if plan.composed.design.kind == "exits":
            details["frames"] = self._frames(result.arrays, edge, ("by", "tap"))
        if plan.definition.structure.router is not None:
            details["routes"] = self._frames(result.arrays, edge, ("entry", "stage"))
        record = VerificationRecord(
            self.job.id, plan.key, bundle.name, values, samples, details=details
        )
        self._check_answers(record)
        self._keep(record, True)
        return record

    def _check_answers(self, done: VerificationRecord) -> None:
        """Raises _Differs where the bundle does not answer as the replay says, or not twice
        the same."""
        unsteady = done.values.get("repeat_mismatch", 0.0)
        self._heed("its answers", done.values["answer_mismatch"], unsteady)

    def _check_turns(self, plan: PlanCandidate, done: VerificationRecord) -> None:
        """The same of what it answered in turns, where its speed is measured."""
        names = ("image", "index", "stage")
        told = [np.array(done.samples.get(f"turns_{name}", ()), np.int64) for name in names]
        image, index, stage = told
        if not len(index):
            return  # it took no turns, or by an earlier version that does not tell
        parts = (self._timed, self.evaluator.data.rows.test[:TESTED])
        expected = [self.evaluator.replayed(plan, part) for part in parts]
        wrong = np.concatenate([part.answer for part in expected])[image] != index
        wrong |= np.concatenate([part.stage for part in expected])[image] != stage
        ran = np.unique(image)
        answers = np.unique(np.stack(told), axis=1)[0]  # images, once for each answer
        again = (answers.size - ran.size) / ran.size
        self._heed("its answers in turns", np.unique(image[wrong]).size / ran.size, again)

    def _heed(self, what: str, differ: float, unsteady: float) -> None:
        """Raise _Differs where too many answers `differ` from the replay, or any are `unsteady`,
        as shares."""
        limit = self.evaluator.data.spec.verify_mismatch
        if differ > limit:
            raise _Differs(
                f"{differ:.2%} of {what} differ from the replay, and at most {limit:.2%} may "
                "(verify_mismatch): its figures are not those of the plan that was judged"
            )
        if unsteady > 0:
            raise _Differs(
                f"{unsteady:.2%} of {what} differ when the same images run again: what does "
                "not compute the same twice cannot be verified"
            )

    def _frames(
        self, arrays: Mapping[str, Any], edge: int, names: Sequence[str]
    ) -> dict[str, list[int]]:
        """Frame by frame of test: the arrays that are named, whether the answer is `right`, and
        the block of the stream (absent where unknown)."""
        rows = self.evaluator.data.rows
        found = {name: arrays[name][edge:].tolist() for name in names}
        if rows.labels is not None:
            right = arrays["index"][edge:] == rows.labels[rows.test]
            found["right"] = right.astype(int).tolist()
        if rows.blocks is not None:
            found["block"] = rows.blocks[rows.test].tolist()
        return found

    def _pairs(self, plan: PlanCandidate, done: VerificationRecord) -> dict[str, Pair]:
        """What was predicted for the timed inputs, and what they took."""
        timed = self._timed
        if plan.paired is not None and plan.definition.structure.memory == NO_MEMORY:
            timed = timed[list(plan.paired.timed)]  # else all: a stream has no holes
        predicted = self.evaluator.predicted(plan, self.evaluator.replayed(plan, timed))
        measured = {
            metric: done.values.get(f"tune_{metric}", done.values.get(metric))
            for metric in corrected_metrics()
        }
        stages = len(plan.composed.options)
        disturbed = bool(plan.composed.design.costs.warnings or disturbances(done.details))
        return {
            metric: Pair(
                stages, predicted[metric], value, disturbed and find_metric(metric).unit != "MB"
            )
            for metric, value in measured.items()
            if value is not None and metric in predicted
        }


def _means(ways: NDArray[Any], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean (n,) of those of the `times` that went the same of the `ways` (n, fields)."""
    if not len(times):
        return times
    _, way = np.unique(ways, axis=0, return_inverse=True)
    way = way.reshape(-1)  # numpy 2.0 gave it a second axis
    means: NDArray[np.float64] = (np.bincount(way, times) / np.bincount(way))[way]
    return means


def _ways(replayed: Replay | StatefulReplay) -> NDArray[np.int64]:
    """How each input goes through a plan, (inputs, places): where it enters, where it leaves, and
    by which word, as far as the plan can differ in it."""
    known = [getattr(replayed, name, None) for name in ("entry", "stage", "tap", "by")]
    return np.stack([values for values in known if values is not None], axis=1)


def _latency(samples: Floats) -> dict[str, float]:
    """Mean and percentiles, each only with samples enough."""
    found = {"latency_mean_ms": float(samples.mean())}
    for percentile, needed in PERCENTILE_MIN_SAMPLES.items():
        if len(samples) >= needed:
            found[f"latency_p{percentile}_ms"] = float(np.percentile(samples, percentile))
    return found
