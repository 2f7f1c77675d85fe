"""The time saved by replacing regions of a network, measured on the device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trimtab.db import MeasurementRecord
from trimtab.planner.cache.keys import race_content, race_key
from trimtab.planner.cache.measurements import ATTEMPTS, steadiest
from trimtab.planner.cache.variants import StoredVariant
from trimtab.planner.jobs.context import JobContext
from trimtab.profilers.device import device_key
from trimtab.variants.slimming import Proposals
from trimtab_runtime.codec import encode
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.probe.requests import RaceRequest

_ROUNDS = 48


def measured_savings(
    job: JobContext,
    member: StoredVariant,
    proposals: Proposals,
    folder: Path,
    threads: int,
) -> tuple[float, list[float]]:
    """Milliseconds of the whole network, and what each proposal saves of it; their files lie in
    `folder`.

    Regions, blocks and the whole network take turns in one process; of those that compute the
    same with other weights one is timed. A saving is the median over rounds of what a region took
    longer than the block in the same round. Raises DeviceError, or the probe's own error.
    """
    names = [proposals.whole]
    for found in proposals.found:
        names += [found.before, found.after]
    samples = _raced(job, member, list(dict.fromkeys(names)), folder, threads)
    savings = (samples[found.before] - samples[found.after] for found in proposals.found)
    whole = float(np.median(samples[proposals.whole]))
    return whole, [float(np.median(saved)) for saved in savings]


def _raced(
    job: JobContext, member: StoredVariant, models: Sequence[str], folder: Path, threads: int
) -> dict[str, NDArray[np.float64]]:
    """Milliseconds (rounds,) of every model, measured once or found in the store."""
    options = RuntimeOptions("onnxruntime", "default", threads)
    content = race_content(models, _ROUNDS)
    key = race_key(job.fingerprint, options, content)
    found = job.store.get_measurement(key)
    if found is None or found.state != "ok":
        files = tuple(job.device.put(folder / f"{name}.onnx") for name in models)
        request = RaceRequest(files, options, _ROUNDS)
        result = steadiest(job.device, request, ATTEMPTS, job.journal)
        found = job.store.put_measurement(
            MeasurementRecord(
                key,
                device_key(job.fingerprint),
                member.key,
                encode(options),
                content,
                values=dict(result.values),
                samples={name: list(values) for name, values in result.samples.items()},
                warnings=result.warnings,
            )
        )
    return {name: np.array(found.samples[f"{n}_ms"]) for n, name in enumerate(models)}
