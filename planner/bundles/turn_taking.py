"""Verified bundles take turns with the baseline; what they did is kept with their verification."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from trimtab.db import Store, VerificationRecord
from trimtab.planner.bundles.turns import (
    Doubles,
    Runner,
    Stretch,
    figures,
    groups,
    run_turns,
    samples_of,
)
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.jobs.steps import ENDS_JOB, one_step
from trimtab.planner.selection.paired import PairedFigures
from trimtab.profilers import Device
from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.probe.requests import TurnSettings

#: Detail of a verification: how it did in turns; None while it waits for them.
PAIRED = "paired"


@dataclass(frozen=True)
class Entrant:
    """A plan that is to take turns; `expected_ms` as in Runner."""

    label: str
    expected_ms: Doubles


@dataclass
class TurnTaking:
    """Runs bundles in turns over a `stretch` of images. `records` are verifications by the keys of
    plans, brought up to date here and handed to `keep`, which may replace what is stored;
    `memory_mb` is the device's (None: unknown)."""

    device: Device
    store: Store
    journal: Journal
    records: dict[str, VerificationRecord]
    keep: Callable[[VerificationRecord, bool], None]
    stretch: Stretch
    baseline: str
    memory_mb: float | None
    settings: TurnSettings

    def take(self, entrants: Mapping[str, Entrant]) -> None:
        """Let those of the `entrants`, by the keys of plans, take turns that did not yet. What an
        earlier version verified took none, and stays as it is. Raises StoreError or DeviceLost;
        what cannot take turns otherwise is noted."""
        if self.baseline not in self.records:
            return  # its verification failed, which was told
        waiting = [self._runner(key, entrants[key]) for key in entrants if self._waits(key)]
        if waiting:
            baseline = self._runner(self.baseline, entrants[self.baseline])
            for group in groups(baseline, waiting, self.memory_mb):
                self._run_group(group)

    def _waits(self, key: str) -> bool:
        details = self.records[key].details
        if key == self.baseline or PAIRED not in details:
            return False
        found = PairedFigures.read(details)
        return found is None or found.baseline != self.baseline

    def _runner(self, key: str, entrant: Entrant) -> Runner:
        record = self.records[key]
        assert record.bundle_sha256 is not None
        bundle = self.store.artefacts.path(record.bundle_sha256)
        peak_mb = record.values.get("peak_memory_mb", math.inf)
        return Runner(key, entrant.label, bundle, peak_mb, entrant.expected_ms)

    def _run_group(self, group: Sequence[Runner]) -> None:
        """One group; in halves where it cannot run as it is."""
        base = PairedFigures.read(self.records[self.baseline].details)
        clock_ms = base.latency_ms if base is not None else None
        try:
            with one_step():
                found = run_turns(self.device, group, self.stretch, self.settings, self.journal)
                expected_ms = {runner.key: runner.expected_ms for runner in group}
                known = figures(found, expected_ms, self.stretch.tune, clock_ms)
        except ENDS_JOB:
            raise
        except TrimtabError as error:
            baseline, *others = group
            if len(others) > 1:
                for half in (others[: len(others) // 2], others[len(others) // 2 :]):
                    self._run_group([baseline, *half])
                return
            self._keep_alone(self.records[others[0].key])
            self.journal.note(
                "warning",
                others[0].label,
                f"could not take turns with the baseline, so its speed-up is not paired: {error}",
            )
            return
        for warning in found["warnings"]:
            labels = ", ".join(runner.label for runner in group)
            self.journal.note("warning", f"in turns: {labels}", str(warning))
        for number, runner in enumerate(group):
            if number or base is None:
                samples = samples_of(found, number)
                self._keep_turns(self.records[runner.key], known[runner.key], samples)

    def _keep_alone(self, record: VerificationRecord) -> None:
        """It does not wait for turns any more."""
        details = {name: told for name, told in record.details.items() if name != PAIRED}
        self.records[record.plan_key] = done = replace(record, details=details)
        self.keep(done, True)

    def _keep_turns(
        self,
        record: VerificationRecord,
        found: PairedFigures,
        samples: Mapping[str, list[float]],
    ) -> None:
        """Latencies are those of the turns from now on; what was measured alone stays beside."""
        values = dict(record.values)
        if "test" in found.latency_ms:
            measured = found.latency_ms["test"].value
            values["alone_latency_mean_ms"] = alone = values["latency_mean_ms"]
            for name in [name for name in values if name.startswith("latency_")]:
                values[name] *= measured / alone
        values["tune_latency_mean_ms"] = found.latency_ms["tune"].value
        done = replace(
            record,
            values=values,
            samples={**record.samples, **samples},
            details={**record.details, PAIRED: found.plain()},
        )
        self.records[record.plan_key] = done
        self.keep(done, True)
