"""Measurements of candidates on the device: alone, and together with those they live beside."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from db import MeasurementRecord, Store
from planner.built import Built, io_of
from planner.cutting import Cut
from planner.journal import Journal
from profilers import Device, DeviceLost, ProbeResult
from profilers.device import device_key
from trimtab_runtime.codec import content_key, encode
from trimtab_runtime.definition import RuntimeOptions
from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.exits import NO_MEMORY, Memory
from trimtab_runtime.metrics import PERCENTILE_MIN_SAMPLES
from trimtab_runtime.probe.requests import MeasureRequest, MeasureSettings, StageFile
from workloads import Item

#: How often an unsteady measurement is tried in all; once only, while none has come out steady
#: since the last that did not: a device that is always busy shall not take three times as long.
ATTEMPTS = 3


@dataclass(frozen=True)
class Part:
    """A stage to be measured: a variant with its options, whole or cut."""

    built: Built
    options: RuntimeOptions
    cut: Cut | None = None

    def described(self) -> dict[str, Any]:
        """What decides its figures."""
        found = {
            "sha256": self.built.variant.sha256,
            "io": io_of(self.built.variant),
            "options": encode(self.options),
        }
        return found if self.cut is None else {**found, "exits": encode(self.cut.exits)}


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


class Profiles:
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
    ) -> None:
        self._store, self._device, self._journal = store, device, journal
        self._device_key = device_key(fingerprint)
        self._images, self._settings = images, settings
        self._attempts = ATTEMPTS

    def measurement(
        self, parts: Sequence[Part], visit: int = 0, memory: Memory = NO_MEMORY
    ) -> MeasurementRecord:
        """Latency, load time, memory and energy of stages in one process.

        `visit` tells measurements apart that were made at different times on purpose.
        """
        settings = {
            "kind": "measure" if len(parts) == 1 and not visit else "together",
            "settings": encode(self._settings),
            "images": content_key([item.sha256 for item in self._images]),
            "visit": visit,
            "stages": [part.described() for part in parts],
        }
        if memory != NO_MEMORY:
            settings["memory"] = encode(memory)
        key = content_key({"device": self._device_key, **settings})
        found = self._store.get_measurement(key)
        if found is not None and found.state == "ok":
            return found
        first = parts[0]
        record = MeasurementRecord(
            key,
            self._device_key,
            first.built.key,
            encode(first.options),
            settings,
            values={},
            samples={},
        )
        try:
            result = self._steadiest(self._request(parts, visit, memory))
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

    def _request(self, parts: Sequence[Part], visit: int, memory: Memory) -> MeasureRequest:
        return MeasureRequest(
            stages=tuple(self._file(part) for part in parts),
            images=tuple(self._device.put(item.path) for item in self._images),
            settings=self._settings,
            visit=visit,
            memory=memory,
        )

    def _file(self, part: Part) -> StageFile:
        variant, put = part.built.variant, self._device.put
        if part.cut is None:
            return StageFile(put(part.built.path), variant, part.options)
        return StageFile(
            "",
            variant,
            part.options,
            exits=part.cut.exits,
            segments=tuple(put(path) for path in part.cut.segments),
            arrays=put(part.cut.arrays),
        )

    def _steadiest(self, request: MeasureRequest) -> ProbeResult:
        found = steadiest(self._device, request, self._attempts, self._journal)
        self._attempts = 1 if found.warnings else ATTEMPTS
        return found


def steadiest(
    device: Device, request: Any, attempts: int, journal: Journal, bundle: str | None = None
) -> ProbeResult:
    """Ask a device to measure; where something disturbed it, again, so often in all. The steadiest
    answer."""

    def progress(done: int, total: int) -> None:
        journal.alive()

    tried: list[ProbeResult] = []
    for _ in range(attempts):
        tried.append(device.probe(request, progress=progress, bundle=bundle))
        if not tried[-1].warnings:
            return tried[-1]
    return min(tried, key=lambda result: result.values["unsteadiness"])
