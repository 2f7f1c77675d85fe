"""From candidates to a verified choice: measured together, corrected, and reported truthfully."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from sample_models import INPUT, write_onnx, write_photos

import trimtab
from trimtab.db import EventRecord
from trimtab.planner.cache.measurements import ATTEMPTS, StageSetup, settings_for
from trimtab.planner.pipeline.job import opened_run
from trimtab.planner.reports.front import front_view
from trimtab.planner.selection.data import SelectionData
from trimtab.planner.selection.paired import PairedFigures
from trimtab.planner.selection.selector import PlanSelector
from trimtab.profilers import Device, InProcessDevice, ProbeResult, SteadyDevice
from trimtab.profilers.device import Progress
from trimtab.search.costs.correction import Pair
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.probe.requests import (
    MeasureRequest,
    MeasureSettings,
    PairedRequest,
    VerifyRequest,
)

QUICK = MeasureSettings(seconds=0.05, max_seconds=5, min_rounds=6, warmup_seconds=0.01)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    for name, width in (("small", 4), ("middle", 16), ("large", 160)):
        write_onnx(folder / f"{name}.onnx", width=width)
    write_photos(folder / "photos", 120)
    return folder


def job(zoo: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "deciding",
        "models": [
            {"path": str(zoo / f"{name}.onnx"), "input": INPUT}
            for name in ("small", "middle", "large")
        ],
        "workload": {"images": str(zoo / "photos"), "splits": {"fit": 40, "tune": 40, "test": 40}},
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "techniques": {"quantisation": []},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 3},
        "verify": 5,
        **changes,
    }


@pytest.fixture(scope="module")
def done(zoo: Path, machine: Device, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store with one finished job."""
    with trimtab.Store.open(tmp_path_factory.mktemp("store") / "trimtab.db") as store:
        record = trimtab.plan(job(zoo), store, settings=QUICK, device=machine, setup="ignored")
        yield store, record


def test_every_cascade_was_measured_together_twice(done: Any) -> None:
    store, record = done
    visits: dict[tuple[str, ...], list[int]] = {}
    for found in store.list_measurements():
        if found.settings["kind"] == "together":
            names = tuple(stage["sha256"] for stage in found.settings["stages"])
            visits.setdefault(names, []).append(found.settings["visit"])
            stages = len(names)
            assert {name for name in found.samples if name.endswith("_beside_inference_ms")} == {
                f"{stage}_beside_inference_ms" for stage in range(stages)
            }
            assert found.values["peak_mb"] > 0
    assert all(sorted(numbers) == [1, 2] for numbers in visits.values())
    entries = store.list_plans(record.id)
    groups = {
        tuple(stage["variant"]["sha256"] for stage in entry.plan.definition["stages"])
        for entry in entries
    }
    assert {group for group in groups if len(group) > 1} <= visits.keys()
    assert any(len(group) > 1 for group in visits)
    baseline = next(e for e in entries if e.plan.key == record.summary["baseline"])
    assert (baseline.plan.definition["stages"][0]["variant"]["sha256"],) in visits


def test_predicted_and_measured_memory_stand_side_by_side(done: Any) -> None:
    store, record = done
    verified = {found.plan_key for found in store.list_verifications(record.id)}
    assert len(verified) >= 4
    for entry in store.list_plans(record.id):
        known = entry.value("peak_memory_mb", "test", "measured")
        assert (known is not None) == (entry.plan.key in verified)
        if known is not None:
            predicted = entry.value("peak_memory_mb", "test", "predicted")
            assert predicted == pytest.approx(known, rel=0.25)


def test_what_is_decided_by_bundles_is_timed_on_tune(done: Any) -> None:
    store, record = done
    for found in store.list_verifications(record.id):
        assert len(found.samples["latency_ms"]) == 80, "40 images of tune, then 40 of test"
        assert len(found.samples["parallel_ms"]) == 10, "one for each group of eight"
        paired = PairedFigures.read(found.details)
        on_tune = found.values["tune_latency_mean_ms"]
        assert on_tune == paired.latency_ms["tune"].value
        assert found.values["latency_mean_ms"] == pytest.approx(paired.latency_ms["test"].value)
        entry = next(e for e in store.list_plans(record.id) if e.plan.key == found.plan_key)
        corrected = entry.value("latency_mean_ms", "tune", "predicted")
        # All of tune was timed: the corrected prediction for it is what the bundle took.
        assert corrected == pytest.approx(on_tune)


def test_speed_ups_are_those_of_bundles_in_turns(done: Any) -> None:
    """The quotient of the two figures beside each, with its interval; raw answers are kept."""
    store, record = done
    view = front_view(store, record)
    rows = {row.key: row for row in view.rows}
    base = rows[view.baseline].figure("latency_mean_ms")
    took = [found.plan_key for found in store.list_verifications(record.id)]
    assert len(took) >= 4
    for found in store.list_verifications(record.id):
        speedup, figure = rows[found.plan_key].speedup, rows[found.plan_key].figures
        own = figure["latency_mean_ms"]
        assert speedup.value == pytest.approx(base.measured / own.measured)
        assert speedup.says == "measured"
        assert own.low <= own.measured <= own.high
        if found.plan_key != view.baseline:
            paired = PairedFigures.read(found.details)
            assert speedup.value == pytest.approx(paired.speedup["test"].value)
            assert speedup.low <= speedup.value <= speedup.high
            assert set(paired.against) == set(took) - {found.plan_key}
        assert len(found.samples["turns_own_ms"]) == len(found.samples["turns_baseline_ms"]) == 80
        assert len(found.samples["turn_start_s"]) == 8
    predicted = [row for row in view.rows if row.status == "predicted" and row.speedup]
    for row in predicted:
        assert row.speedup.says == "predicted"
        shown = row.figure("latency_mean_ms").predicted
        assert row.speedup.value == pytest.approx(base.predicted / shown)


class Counted(Device):
    """Another device; how often it was asked for turns, and of how many bundles."""

    def __init__(self, device: Device) -> None:
        self._device, self.address, self.turns = device, device.address, list[int]()

    def put(self, path: Path) -> str:
        return self._device.put(path)

    def machine(self) -> str:
        return self._device.machine()

    def probe(self, request: Any, **how: Any) -> ProbeResult:
        if isinstance(request, PairedRequest):
            self.turns.append(len(request.bundles))
        return self._device.probe(request, **how)


def test_turns_are_taken_once_and_those_of_a_killed_job_later(
    zoo: Path, machine: Device, tmp_path: Path
) -> None:
    device = Counted(machine)
    with trimtab.Store.open(tmp_path / "trimtab.db") as store:

        def run() -> Any:
            return trimtab.plan(job(zoo), store, settings=QUICK, device=device, setup="ignored")

        record = run()
        base = record.summary["baseline"]
        verified = {v.plan_key: v for v in store.list_verifications(record.id)}
        assert sum(count - 1 for count in device.turns) == len(verified) - 1
        device.turns.clear()
        run()
        assert device.turns == []
        one = next(found for key, found in verified.items() if key != base)
        waiting = dataclasses.replace(one, details={**one.details, "paired": None})
        store.put_verification(waiting, replace=True)
        run()
        assert device.turns == [2], "the baseline, and what waits"
        told = {v.plan_key: v.details["paired"] for v in store.list_verifications(record.id)}
        assert told[one.plan_key]["speedup"]["test"] == one.details["paired"]["speedup"]["test"]
        # What an earlier version verified took no turns, and takes none now.
        details = {name: value for name, value in one.details.items() if name != "paired"}
        store.put_verification(dataclasses.replace(one, details=details), replace=True)
        device.turns.clear()
        view = front_view(store, run())
        assert device.turns == []
        row = view.row(one.plan_key)
        assert row is not None and row.speedup is not None
        assert row.speedup.says == "measured, not paired"


def test_optimism_is_the_decided_lead_less_the_lead_on_test(done: Any) -> None:
    store, record = done
    entries = store.list_plans(record.id)
    baseline = next(e for e in entries if e.plan.key == record.summary["baseline"])
    told = [e for e in entries if ("top1", "test", "optimism") in e.metrics]
    assert told
    assert baseline not in told
    for entry in told:
        decided = entry.value("top1", "tune", "guarded") - baseline.value(
            "top1", "tune", "replayed"
        )
        lead = entry.value("top1", "test", "replayed") - baseline.value("top1", "test", "replayed")
        found = entry.metrics["top1", "test", "optimism"]
        assert found.value == pytest.approx(decided - lead, abs=1e-6)
        assert found.low <= found.value <= found.high


def test_a_later_job_begins_with_what_was_learned_and_keeps_it(
    done: Any, zoo: Path, machine: Device
) -> None:
    store, record = done
    learned = {c.metric: c for c in store.list_corrections(job_id=record.id)}
    assert set(learned) == {"latency_mean_ms", "peak_memory_mb"}
    assert all(c.plans >= 4 for c in learned.values())
    assert record.summary["correction"] == {}, "it was the first job"
    how: Any = {"settings": QUICK, "device": machine, "setup": "ignored"}
    later = trimtab.plan(job(zoo, name="later", verify=0), store, **how)
    assert later.summary["correction"] == {m: c.model for m, c in learned.items()}
    again = trimtab.plan(job(zoo), store, **how)
    assert (again.id, again.summary["correction"]) == (record.id, {})


def test_what_the_bundle_measured_has_the_last_word(
    zoo: Path, tmp_path: Path, machine: Device
) -> None:
    spec = trimtab.load_spec(job(zoo, baseline="large", constraints=["top1 >= 0"]))
    with (
        trimtab.Store.open(tmp_path / "trimtab.db") as store,
        opened_run(spec, store, settings=QUICK, device=machine) as run,
    ):
        data = SelectionData.of(spec, run.measure(run.members()), run.evaluator.rows)
    selector = PlanSelector(data)
    selection = selector.select(None)
    chosen, baseline = selection.chosen, selection.baseline
    assert chosen is not None
    assert chosen is not baseline, "the small model is much faster"

    def verified(slower: float) -> dict[str, dict[str, Pair]]:
        stages = len(chosen.composed.options)
        return {
            chosen.key: {"latency_mean_ms": Pair(stages, 1.0, slower)},
            baseline.key: {"latency_mean_ms": Pair(1, 1.0, 1.0)},
        }

    again, _ = selector.confirm(selection, verified(1.0), [chosen, baseline])
    assert again.chosen is chosen
    again, _ = selector.confirm(selection, verified(1e6), [chosen, baseline])
    assert again.chosen is baseline
    only = {baseline.key: verified(1.0)[baseline.key]}
    others = [plan for plan in selection.plans if plan is not chosen]
    again, _ = selector.confirm(selection, only, others)
    assert again.chosen not in (None, chosen), "it failed"


def test_percentiles_that_are_asked_for_are_sampled_often_enough() -> None:
    plain = settings_for(["top1", "latency_mean_ms"])
    assert plain == MeasureSettings()
    for metric, needed in (("latency_p95_ms", 130), ("latency_p99_ms", 662)):
        settings = settings_for(["top1", metric])
        assert settings.min_rounds * settings.beside_per_round >= needed
        assert settings.max_rounds >= settings.min_rounds


class Disturbed(Device):
    """This machine with steady times, where every measurement but each `steady`-th was
    disturbed."""

    def __init__(self, steady: int) -> None:
        self._device, self._steady = SteadyDevice(InProcessDevice()), steady
        self.address, self.measured = "local", 0
        self.verified: list[VerifyRequest] = []

    def put(self, path: Path) -> str:
        return self._device.put(path)

    def probe(
        self,
        request: Any,
        *,
        stall_s: float | None = None,
        progress: Progress | None = None,
        bundle: str | None = None,
    ) -> ProbeResult:
        found = self._device.probe(request, stall_s=stall_s, progress=progress, bundle=bundle)
        if isinstance(request, VerifyRequest):
            self.verified.append(request)
        if not isinstance(request, MeasureRequest):
            return found
        self.measured += 1
        warnings = [] if self.measured % self._steady == 0 else ["busy: a test says so"]
        return dataclasses.replace(found, warnings=warnings)


@pytest.mark.parametrize(("steady", "expected"), [(2, 2), (10**9, ATTEMPTS)])
def test_disturbed_measurements_are_repeated_within_a_bound(
    zoo: Path, tmp_path: Path, steady: int, expected: int
) -> None:
    device = Disturbed(steady)
    spec = trimtab.load_spec(job(zoo))
    with (
        trimtab.Store.open(tmp_path / "trimtab.db") as store,
        opened_run(spec, store, settings=QUICK, device=device) as run,
    ):
        first, *others = run.members()
        options = RuntimeOptions("onnxruntime")
        found = run.evaluator.measurements.measurement([StageSetup(first.built, options)])
        assert device.measured == expected
        assert bool(found.warnings) == (steady > 2)
        # A device that stays disturbed does not take three times as long for all that follows.
        run.evaluator.measurements.measurement([StageSetup(others[0].built, options)])
        assert device.measured == (expected + 2 if steady == 2 else expected + 1)


@pytest.mark.slow
def test_warnings_are_noted_and_nothing_is_decided_on_test(zoo: Path, tmp_path: Path) -> None:
    spec, device = trimtab.load_spec(job(zoo, together=2, verify=0)), Disturbed(10**9)
    with trimtab.Store.open(tmp_path / "trimtab.db") as store:
        with opened_run(spec, store, settings=QUICK, device=device) as run:
            run.execute()
            tune = {device.put(run.evaluator.items[row].path) for row in run.evaluator.rows.tune}
        notes: list[EventRecord] = store.list_events(run.job.job_id)
    assert {n.subject for n in notes if n.text == "busy: a test says so"} >= {"small 1t"}
    assert device.verified
    for request in device.verified:  # memory, too, is measured on tune alone
        assert set(request.images[: request.deciding]) == tune
