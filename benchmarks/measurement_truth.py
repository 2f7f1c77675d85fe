"""Is a measured latency right, and is it flagged where it is not?

A small convolutional network is measured as jobs measure it (again where it is disturbed, three
times at most), many times: first on this machine as it is, which should be quiet, then beside a
neighbour that takes a core in bursts of 1 to 60 seconds (seeded), with pauses as long. All are
moved to one pace, as in a job. The truth is the median of what was measured while it was quiet.
Prints one JSON object as its last line:

    error_median, error_max  relative errors while quiet
    false_flags              share flagged of those that are quiet and right to 3 %
    beside_error_median, beside_error_max  the same errors beside the neighbour
    unflagged_error_max      the largest error beside the neighbour that nothing warned of
    beside_flagged           share flagged beside the neighbour
    wrong_flagged            share flagged of those that are off by more than 8 % beside it
    explained                median share of the variance that the reference explains, of all
    measurements             of the two kinds, and how many `probes` they took

Shares of nothing are null. With `--folder` what was measured is kept there, and the same call goes
on where it was killed.

    python -m benchmarks.measurement_truth   # about 5 minutes
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from benchmarks._neighbour import neighbour
from benchmarks._options import DEFAULT_DATA, SUPPORT, NoData
from trimtab.planner.cache.disturbance import assess_measurement
from trimtab.planner.cache.measurements import ATTEMPTS, steadiest
from trimtab.profilers import LocalDevice, ProbeResult
from trimtab.search.costs.pace import CommonPace
from trimtab.search.costs.stage import StageCost, Visit
from trimtab.variants import inspect_model, make_variant
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.probe.requests import MeasureRequest, MeasureSettings, StageFile

#: Errors up to this are right, and beyond that wrong.
_RIGHT, _WRONG = 0.03, 0.08


def main(
    repeats: int = 20,
    threads: int = 2,
    seconds: Annotated[float, typer.Option(help="least seconds of one measurement")] = 2.0,
    burst: Annotated[float, typer.Option(help="longest burst of the neighbour, s")] = 60.0,
    seed: int = 0,
    folder: Annotated[Path | None, typer.Option(help="keep what is measured here")] = None,
    _data: NoData = DEFAULT_DATA,
) -> None:
    """Measure while it is quiet and beside a neighbour, and print the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        settings = MeasureSettings(seconds=seconds, idle_seconds=0.0, energy_seconds=0.0)
        home = folder or Path(scratch)
        home.mkdir(parents=True, exist_ok=True)
        repeated = Repeated(home, threads, settings)
        quiet = [repeated.measured(number) for number in range(repeats)]
        with neighbour(seed, burst):
            beside = [repeated.measured(repeats + number) for number in range(repeats)]
    print(json.dumps({**figures(quiet, beside), "probes": repeated.probes}))


class Repeated:
    """One model, measured over and over."""

    def __init__(self, folder: Path, threads: int, settings: MeasureSettings) -> None:
        sys.path.insert(0, str(SUPPORT))
        from sample_models import INPUT, texture_images, write_onnx

        model = write_onnx(folder / "model.onnx", width=512)
        variant = make_variant(model, inspect_model(model), INPUT, {}, "model")
        images = []
        for number, pixels in enumerate(texture_images(8, seed=3, size=64)[0]):
            images.append(folder / f"{number}.png")
            Image.fromarray(pixels).save(images[-1])
        self._device, self._variant = LocalDevice(), variant
        stage = StageFile(str(model), variant, RuntimeOptions("onnxruntime", threads=threads))
        self._request = MeasureRequest((stage,), tuple(map(str, images)), settings)
        self._folder, self.probes = folder, 0

    def measured(self, number: int) -> Reported:
        """One measurement, as jobs make it; the same `number` once."""
        kept = self._folder / f"{number}.json"
        if not kept.exists():
            before = self.probes
            found = steadiest(self._device, self._request, ATTEMPTS, self, assess=self._assess)
            told = [found.values, found.samples, found.warnings, self.probes - before]
            self.probes = before
            kept.write_text(json.dumps(told), "utf-8")
        values, samples, warnings, probes = json.loads(kept.read_text("utf-8"))
        self.probes += probes
        print(f"{number}: {'; '.join(warnings) or 'steady'}", flush=True)
        return Reported(self._variant, Visit(values, samples, warnings))

    def _assess(self, found: ProbeResult) -> ProbeResult:
        self.probes += 1
        return assess_measurement(found)

    def alive(self) -> None:
        """Nobody watches (what a job's journal would be told)."""


@dataclass(frozen=True)
class Reported:
    """A measurement that was kept."""

    variant: Any
    visit: Visit

    @property
    def flagged(self) -> bool:
        return bool(self.visit.warnings)

    def latency_ms(self, pace: CommonPace) -> float:
        """What a job would say of the model alone."""
        factors = pace.factors([self.visit])
        options = RuntimeOptions("onnxruntime")
        cost = StageCost.from_visits(self.variant.input, options, 0.0, [self.visit], factors)
        return float(cost.total("hot").mean())


def figures(quiet: list[Reported], beside: list[Reported]) -> dict[str, Any]:
    """All keys but the number of probes."""
    pace = CommonPace.of(found.visit for found in [*quiet, *beside])
    known = np.array([found.latency_ms(pace) for found in quiet])
    truth = float(np.median(known))
    errors = np.abs(known / truth - 1)
    others = np.abs(np.array([found.latency_ms(pace) for found in beside]) / truth - 1)
    flags, other_flags = (np.array([f.flagged for f in found]) for found in (quiet, beside))
    right, wrong = errors <= _RIGHT, others > _WRONG
    explained = [found.visit.values["reference_explained"] for found in [*quiet, *beside]]
    return {
        "latency_ms": truth,
        "error_median": float(np.median(errors)),
        "error_max": float(errors.max()),
        "false_flags": _mean(flags[right]),
        "beside_error_median": float(np.median(others)),
        "beside_error_max": float(others.max()),
        "unflagged_error_max": float(others[~other_flags].max(initial=0.0)),
        "beside_flagged": float(other_flags.mean()),
        "wrong_flagged": _mean(other_flags[wrong]),
        "explained": float(np.median(explained)),
        "measurements": [len(quiet), len(beside)],
    }


def _mean(found: Any) -> float | None:
    """A share; None of nothing."""
    return float(found.mean()) if len(found) else None


if __name__ == "__main__":
    typer.run(main)
