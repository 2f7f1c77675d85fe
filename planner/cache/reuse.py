"""A sample of what was measured before, measured again: does it still hold on this device?

Another cooler, another governor, another board behind the same address: a store would go on with
figures that nothing here has any more.
"""

from __future__ import annotations

import numpy as np

from trimtab.db import MeasurementRecord
from trimtab.planner.jobs.journal import Journal
from trimtab.profilers import Device, DeviceLost
from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.probe.requests import MeasureRequest, MeasureSettings

#: A second or two, where nothing disturbs it.
CHEAP = MeasureSettings(
    seconds=0.3,
    max_seconds=5.0,
    min_rounds=12,
    max_rounds=48,
    warmup_seconds=0.2,
    idle_seconds=0.0,
    energy_seconds=0.0,
)
#: Quotient of two medians of one device, either way, from which it is told.
_DIFFERS = 1.5
_SAMPLES = "0_hot_inference_ms"


class ReuseCheck:
    """Compares one measurement of a job that was found in the store with the device as it is."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.done = False

    def compare(
        self, device: Device, request: MeasureRequest, found: MeasurementRecord, name: str
    ) -> None:
        """Measure again what `found` measured, and tell where it differs. What is disturbed, or
        fails, tells nothing. Raises DeviceLost."""
        before = found.samples.get(_SAMPLES)
        if not before:
            return
        self.done = True
        try:
            again = device.probe(request, progress=lambda done, total: self._journal.alive())
        except DeviceLost:
            raise
        except TrimtabError as error:
            self._journal.note(
                "warning", name, f"was measured before, and cannot be measured again: {error}"
            )
            return
        was, now = float(np.median(before)), float(np.median(again.samples[_SAMPLES]))
        if again.warnings or 1 / _DIFFERS <= now / was <= _DIFFERS:
            return
        self._journal.note(
            "warning",
            name,
            f"took {was:.3g} ms when it was measured ({found.created_at:%Y-%m-%d %H:%M} UTC), and "
            f"takes {now:.3g} ms now: the measurements that this store holds of the device may "
            "not hold any more; use a new store (--store) to measure everything again",
        )
