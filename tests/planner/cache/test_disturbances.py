"""What becomes of measurements whose speed changed: measured again, flagged, and not learned
from by later jobs."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_devices import Wrapped
from sample_models import INPUT, write_onnx, write_photos
from typer.testing import CliRunner

import trimtab
from trimtab.db import CorrectionRecord, JobRecord, Store
from trimtab.planner.cache.disturbance import UsualPace, assess_bundle
from trimtab.planner.cache.measurements import ATTEMPTS
from trimtab.planner.cli import app
from trimtab.planner.pipeline.job import opened_run
from trimtab.planner.reports.front import front_view
from trimtab.planner.selection.predictions import earlier_correction, earlier_errors
from trimtab.profilers import Device, ProbeResult
from trimtab_runtime.probe.requests import MeasureRequest, MeasureSettings

QUICK = MeasureSettings(seconds=0.05, max_seconds=5, min_rounds=10, warmup_seconds=0.01)


class TwoSpeeds(Wrapped):
    """A device that slows down by a half at the end of every measurement, unnoticed by the
    reference work."""

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.measured = 0

    def probe(self, request: Any, **how: Any) -> ProbeResult:
        found = super().probe(request, **how)
        if not isinstance(request, MeasureRequest):
            return found
        self.measured += 1
        return dataclasses.replace(
            found,
            samples={
                name: slowed(times) if name.endswith("inference_ms") else times
                for name, times in found.samples.items()
            },
        )


def slowed(times: list[float]) -> list[float]:
    edge = len(times) * 6 // 10
    return [*times[:edge], *(1.5 * time for time in times[edge:])]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    for name, width in (("small", 4), ("large", 64)):
        write_onnx(folder / f"{name}.onnx", width=width)
    write_photos(folder / "photos", 60)
    return folder


def job(zoo: Path, name: str = "disturbed") -> dict[str, Any]:
    return {
        "name": name,
        "models": [
            {"path": str(zoo / f"{name}.onnx"), "input": INPUT} for name in ("small", "large")
        ],
        "workload": {"images": str(zoo / "photos"), "splits": {"fit": 20, "tune": 20, "test": 20}},
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "techniques": {"quantisation": []},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 2},
        "together": 2,
        "verify": 1,
    }


@pytest.fixture(scope="module")
def done(
    zoo: Path, machine: Device, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, JobRecord, TwoSpeeds, Path]]:
    device, place = TwoSpeeds(machine), tmp_path_factory.mktemp("store") / "trimtab.db"
    with trimtab.Store.open(place) as store:
        record = trimtab.plan(job(zoo), store, settings=QUICK, device=device, setup="ignored")
        yield store, record, device, place


def test_a_board_without_a_quiet_moment_ends_with_flags(done: Any) -> None:
    store, record, device, _ = done
    assert record.state == "done"
    found = store.list_measurements()
    assert device.measured == len(found) + ATTEMPTS - 1, "only the first is measured again"
    for measurement in found:
        (text,) = [text for text in measurement.warnings if "two speeds" in text]
        share = re.search(r"(\d+)% of the time in the slower; it changed once", text)
        assert share and int(share[1]) == pytest.approx(40, abs=10)  # by whole rounds
        fast, slow = measurement.details["speeds"]
        assert slow["ms"] / fast["ms"] == pytest.approx(1.5, rel=0.06)
        assert measurement.values["reference_explained"] == 0.0, "the reference saw nothing"


def test_figures_are_flagged_wherever_they_are_shown(done: Any) -> None:
    store, record, _, place = done
    view = front_view(store, record)
    predicted = [row for row in view.rows if row.status == "predicted"]
    verified = [row for row in view.rows if row.status == "verified"]
    assert predicted and verified
    assert all("two speeds" in " ".join(row.disturbances) for row in predicted)
    assert all(not row.disturbances for row in verified), "bundles ran undisturbed"

    def shown(*words: str) -> str:
        told = CliRunner().invoke(app, ["--store", str(place), *words], env={"COLUMNS": "200"})
        assert told.exit_code == 0, told.output
        return told.output

    assert "[disturbed]" in shown("front", "disturbed", "--all")
    assert "Disturbed: two speeds" in shown("show", predicted[0].key[:12])
    rows = json.loads(shown("front", "disturbed", "--all", "--format", "json"))["rows"]
    assert {row["key"] for row in rows if row["disturbances"]} == {row.key for row in predicted}
    csv = shown("front", "disturbed", "--all", "--format", "csv")
    assert "two speeds" in csv and "disturbed" in csv.splitlines()[0]


def test_predicted_costs_have_intervals_whose_coverage_is_kept(done: Any) -> None:
    store, record, _, _ = done
    told = record.summary["predictions"]["latency_mean_ms"]
    verified = store.list_verifications(record.id)
    assert told["plans"] == told["device_plans"] == told["disturbed"] == len(verified)
    assert (told["taught_by"], told["squares"]) == (0, 0.0), "what was disturbed teaches nothing"
    covered = 0
    for row in front_view(store, record).rows:
        figure = row.figure("latency_mean_ms")
        low, high = figure.predicted_low, figure.predicted_high
        assert low < figure.predicted < high
        covered += figure.measured is not None and low <= figure.measured <= high
    # That of tune, which decides; here plans answer both splits with the same shares or nearly.
    assert abs(told["covered"] - covered) <= 1
    memory = record.summary["predictions"]["peak_memory_mb"]
    assert memory["disturbed"] == 0, "memory is no figure of time"
    assert memory["plans"] == memory["taught_by"]


def probed(parallel_ms: float, threads: float = 2.0) -> ProbeResult:
    return ProbeResult(
        {"reference_threads": threads},
        {"reference_ms": [1.5] * 20, "parallel_ms": [parallel_ms] * 20},
    )


@pytest.mark.parametrize(
    ("pace", "threads", "unusual"),
    [(2.0, 2.0, False), (2.2, 2.0, False), (2.5, 2.0, True), (1.6, 2.0, True), (9.0, 1.0, False)],
)
def test_another_pace_all_the_time_is_noticed(pace: float, threads: float, unusual: bool) -> None:
    usual = UsualPace()
    for ms in (1.9, 2.0, 2.1):
        assert usual.compared(probed(99.0)).warnings == [], "nothing is usual yet"
        usual.learn(probed(ms).values, probed(ms).samples)
    found = usual.compared(probed(pace, threads)).warnings
    assert bool(found) == unusual
    assert not unusual or f"took {pace:.3g} ms instead of 2 ms" in found[0]


def test_images_of_a_bundle_are_compared_along_their_own_path() -> None:
    stage = np.arange(80) % 2
    latency = np.where(stage == 0, 2.0, 9.0) * np.exp(
        0.01 * np.random.default_rng(0).standard_normal(80)
    )
    zeros = np.zeros(80, np.int64)

    def answers(latency_ms: Any) -> ProbeResult:
        arrays = {"entry": zeros, "stage": stage, "tap": zeros - 1, "by": zeros}
        return ProbeResult({}, {}, arrays={**arrays, "latency_ms": latency_ms})

    assert assess_bundle(answers(latency)).warnings == [], "two paths are not two speeds"
    latency[48:] *= 1.4
    (text,) = assess_bundle(answers(latency)).warnings
    assert "40% of the time in the slower; it changed once" in text


def test_what_a_disturbed_job_learned_is_not_carried(
    done: Any, zoo: Path, machine: Device
) -> None:
    store, record, _, _ = done
    told = {"plans": 8, "covered": 7, "disturbed": 2, "taught_by": 6, "squares": 0.06}
    predictions = {"latency_mean_ms": {**told, "device_plans": 8, "device_covered": 7}}
    summary = {"predictions": predictions}
    steady = dataclasses.replace(record, id="steady", name="steady", summary=summary)
    before = dataclasses.replace(record, id="before", name="before", summary={})
    for earlier in (steady, before):
        store.add_job(earlier)
    taught = {
        (record.id, "latency_mean_ms"): 0.9,
        (steady.id, "latency_mean_ms"): 0.1,
        (before.id, "peak_memory_mb"): 0.2,
    }
    store.put_corrections(
        CorrectionRecord(job_id, metric, record.device_key, {"base": base}, 8, 0.1, 0.1)
        for (job_id, metric), base in taught.items()
    )
    spec = trimtab.load_spec(job(zoo, "next"))
    with opened_run(spec, store, settings=QUICK, device=machine) as run:
        known = earlier_correction(run.job)
        assert known.models == {
            "latency_mean_ms": {"base": 0.1},
            "peak_memory_mb": {"base": 0.2},
        }
        errors = earlier_errors(run.job)["latency_mean_ms"]
        assert (errors.plans, errors.squares) == (6, 0.06)
        # It decides by what it began with, whatever is learned meanwhile.
        store.put_corrections(
            [CorrectionRecord(steady.id, "latency_mean_ms", record.device_key, {}, 8, 0.1, 0.1)]
        )
        assert earlier_correction(run.job) == known
