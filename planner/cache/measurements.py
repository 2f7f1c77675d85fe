"""Measurements of candidates on the device: alone, and with the other stages of a plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trimtab.db import MeasurementRecord, Store, utc_now
from trimtab.planner.cache.disturbance import UsualPace, assess_measurement, unsteadiness
from trimtab.planner.cache.keys import measurement_content, measurement_key, stage_content
from trimtab.planner.cache.reuse import CHEAP, ReuseCheck
from trimtab.planner.cache.segments import SegmentedVariant
from trimtab.planner.cache.variants import StoredVariant
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.jobs.steps import one_step
from trimtab.profilers import Device, DeviceLost, ProbeResult
from trimtab.profilers.device import device_key
from trimtab.workloads import Item
from trimtab_runtime.codec import encode
from trimtab_runtime.definitions.exits import NO_MEMORY, Memory
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.definitions.routers import Router
from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.metrics import PERCENTILE_MIN_SAMPLES
from trimtab_runtime.probe.requests import MeasureRequest, MeasureSettings, RouterFile, StageFile

#: Attempts at a measurement that is disturbed. After one stayed disturbed there are no retries
#: until one is steady again, so that a device that is always busy does not take thrice as long.
ATTEMPTS = 3


@dataclass(frozen=True)
class StageSetup:
    """A stage to be measured: a variant with its options, whole or cut, and the sha256 of its
    scorer's file in the store."""

    built: StoredVariant
    options: RuntimeOptions
    cut: SegmentedVariant | None = None
    scorer: str | None = None

    def described(self) -> dict[str, Any]:
        """What decides its figures."""
        exits = None if self.cut is None else self.cut.exits
        return stage_content(self.built.variant, self.options, exits, self.scorer)


def settings_for(metrics: Iterable[str]) -> MeasureSettings:
    """How long to measure so that the percentiles among `metrics` can be told."""
    settings = MeasureSettings()
    needed = [
        count for p, count in PERCENTILE_MIN_SAMPLES.items() if f"latency_p{p}_ms" in set(metrics)
    ]
    rounds = math.ceil(max(needed, default=0) / settings.beside_per_round)
    if rounds <= settings.min_rounds:
        return settings
    longest = settings.max_seconds * rounds / settings.min_rounds
    most = max(settings.max_rounds, rounds)
    return replace(settings, min_rounds=rounds, max_rounds=most, max_seconds=longest)


class MeasurementCache:
    """Measures, or finds what was measured before. Raises the TrimtabError of a failure.

    `images` are those that latency is measured on.
    """

    def __init__(
        self,
        store: Store,
        device: Device,
        fingerprint: Mapping[str, str],
        images: Sequence[Item],
        journal: Journal,
        settings: MeasureSettings,
        largest_pixels: int | None = None,
    ) -> None:
        self._store, self._device, self._journal = store, device, journal
        self._fingerprint = fingerprint
        self._images, self._settings = images, settings
        self._largest_pixels = largest_pixels
        self._attempts, self._pace = ATTEMPTS, UsualPace()
        self._reuse = ReuseCheck(journal)
        self._began = utc_now()

    def measurement(
        self,
        parts: Sequence[StageSetup],
        visit: int = 0,
        memory: Memory = NO_MEMORY,
        router: Router | None = None,
    ) -> MeasurementRecord:
        """Latency, load time, memory and energy of stages in one process, and of the `router` in
        front of them.

        `visit` tells measurements apart that were made at different times on purpose.
        """
        stages = [part.described() for part in parts]
        content = measurement_content(
            stages, self._settings, self._images, visit, memory, router, self._largest_pixels
        )
        key = measurement_key(self._fingerprint, content)
        found = self._store.get_measurement(key)
        if found is not None and found.state == "ok":
            self._pace.learn(found.values, found.samples)
            self._spot_check(found, parts, router)
            return found
        first = parts[0]
        record = MeasurementRecord(
            key,
            device_key(self._fingerprint),
            first.built.key,
            encode(first.options),
            content,
            values={},
            samples={},
        )
        try:
            with one_step():
                result = self._steadiest(self._request(parts, visit, memory, router))
        except DeviceLost:
            raise  # says nothing of the candidate
        except TrimtabError as error:
            self._store.put_measurement(replace(record, state="failed", reason=str(error)))
            raise
        return self._store.put_measurement(
            replace(
                record,
                values=dict(result.values),
                samples={name: list(values) for name, values in result.samples.items()},
                warnings=result.warnings,
                details=dict(result.details),
            )
        )

    def _request(
        self, parts: Sequence[StageSetup], visit: int, memory: Memory, router: Router | None
    ) -> MeasureRequest:
        return MeasureRequest(
            stages=tuple(self._file(part) for part in parts),
            images=tuple(self._device.put(item.path) for item in self._images),
            settings=self._settings,
            visit=visit,
            memory=memory,
            router=None if router is None else RouterFile(self._put(router.model), router),
            largest_pixels=self._largest_pixels,
        )

    def _put(self, sha256: str) -> str:
        return self._device.put(self._store.artefacts.path(sha256))

    def _file(self, part: StageSetup) -> StageFile:
        variant, put = part.built.variant, self._device.put
        scorer = None if part.scorer is None else self._put(part.scorer)
        if part.cut is None:
            return StageFile(put(part.built.path), variant, part.options, scorer=scorer)
        return StageFile(
            "",
            variant,
            part.options,
            exits=part.cut.exits,
            segments=tuple(put(path) for path in part.cut.segments),
            arrays=put(part.cut.arrays),
            scorer=scorer,
        )

    def _spot_check(
        self, found: MeasurementRecord, parts: Sequence[StageSetup], router: Router | None
    ) -> None:
        """Once a job: what an earlier one measured is looked at again, cheaply."""
        alone = len(parts) == 1 and parts[0].cut is None and router is None
        if self._reuse.done or not alone or not self._device.measures:
            return
        if found.created_at < self._began:
            request = replace(self._request(parts, 0, NO_MEMORY, None), settings=CHEAP)
            self._reuse.compare(self._device, request, found, parts[0].built.variant.name)

    def _steadiest(self, request: MeasureRequest) -> ProbeResult:
        def assess(found: ProbeResult) -> ProbeResult:
            return self._pace.compared(assess_measurement(found))

        found = steadiest(self._device, request, self._attempts, self._journal, assess=assess)
        self._attempts = 1 if found.warnings else ATTEMPTS
        self._pace.learn(found.values, found.samples)
        return found


def steadiest(
    device: Device,
    request: Any,
    attempts: int,
    journal: Journal,
    bundle: str | None = None,
    assess: Callable[[ProbeResult], ProbeResult] = lambda found: found,
) -> ProbeResult:
    """Ask a device to measure; where something disturbed it, or its samples show that to `assess`,
    again, so often in all. The steadiest answer."""

    def progress(done: int, total: int) -> None:
        journal.alive()

    tried: list[ProbeResult] = []
    for _ in range(attempts):
        tried.append(assess(device.probe(request, progress=progress, bundle=bundle)))
        if not tried[-1].warnings:
            return tried[-1]
    return min(tried, key=unsteadiness)
