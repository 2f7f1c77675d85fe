"""One job on several devices, which are recorded: each its own front, and one over all."""

import _thread
import dataclasses
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest
from killing import SETTINGS, committed, probes
from processes import PATIENCE_S
from sample_devices import SLOWNESS, Wrapped, record_both, replayed, run_both, two_devices
from typer.testing import CliRunner

from trimtab.db import Store
from trimtab.planner.bundles.export import export_plan
from trimtab.planner.cli import app
from trimtab.planner.jobs.lookup import devices_of, find_job, find_plan, job_on_device, job_state
from trimtab.planner.pipeline.job import plan
from trimtab.planner.reports.front import front_view
from trimtab.planner.specification.job import load_spec
from trimtab.profilers import DeviceLost
from trimtab_runtime import Plan
from trimtab_runtime.codec import decode
from trimtab_runtime.definitions.plan import PlanDefinition
from trimtab_runtime.errors import PlanningError, SpecificationError, StoreError
from trimtab_runtime.metrics import find_metric
from trimtab_runtime.probe.requests import kind_of


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def spec(home):
    return two_devices(home)


@pytest.fixture(scope="module")
def done(home, spec):
    with Store.open(home / "done" / "trimtab.db") as store:
        yield store, record_both(spec, store, home)


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store" / "trimtab.db") as opened:
        yield opened


def jobs_of(store, record):
    return {d["name"]: store.get_job(d["job"]) for d in devices_of(record) if d["job"]}


def test_each_device_has_its_own_measurements_and_front(done):
    store, record = done
    assert (record.state, record.message) == ("done", None)
    jobs = jobs_of(store, record)
    assert [job.state for job in jobs.values()] == ["done", "done"]
    times = {}
    for name, job in jobs.items():
        found = store.list_measurements(device_key=job.device_key, state="ok")
        assert {found.settings["kind"] for found in found} == {"measure", "together"}
        view = front_view(store, job)
        assert view.chosen is not None
        assert f"({name}," in view.device
        times[name] = view.row(view.baseline).figure("latency_mean_ms").decided
    assert jobs["board"].device_key != jobs["box"].device_key
    assert times["board"] != times["box"], "figures of its own"


def test_the_job_of_a_device_is_the_one_that_it_would_be_alone(done, spec, home):
    store, record = done
    alone = {k: v for k, v in spec.items() if k not in ("devices", "across")}
    alone["device"] = f"recorded:{home / 'box'}.jsonl"
    assert (
        plan(alone, store, settings=SETTINGS, setup="ignored").id
        == jobs_of(store, record)["box"].id
    )


def test_the_front_over_all_is_that_of_the_worst_case(done):
    store, record = done
    entries = store.list_plans(record.id)
    assert any(entry.plan.on_front for entry in entries)
    assert sum(entry.plan.is_chosen for entry in entries) == 1
    assert record.summary["chosen"]
    for entry in entries:
        on_each = entry.plan.definition["devices"]
        assert set(on_each) == set(SLOWNESS)
        for (metric, split, basis), found in entry.metrics.items():
            known = [figures[f"{metric} {split} {basis}"] for figures in on_each.values()]
            lowest = find_metric(metric).maximise and basis != "optimism"
            assert found.value == (min if lowest else max)(known)
    view = front_view(store, record)
    assert view.device == "the worst case of board, box"
    assert store.count_exposures(record.workload_key) == 3, "one look a job"


def test_the_very_same_file_is_verified_on_all(done):
    store, record = done
    verified = store.list_verifications(record.id)
    assert {v.plan_key for v in verified} >= {record.summary["chosen"], record.summary["baseline"]}
    for found in verified:
        assert (found.state, found.reason) == ("ok", None)
        assert found.values["answer_mismatch"] == 0
        on_each = found.details["devices"]
        times = {name: on_each[name]["values"]["latency_mean_ms"] for name in SLOWNESS}
        assert found.values["latency_mean_ms"] == max(times.values())
        assert {f"latency_ms@{name}" for name in SLOWNESS} <= set(found.samples)


def test_its_bundle_runs_and_names_all_devices(done, tmp_path):
    store, record = done
    target = export_plan(store, record.summary["chosen"], tmp_path / "plan.pyz")
    (verified,) = [
        v for v in store.list_verifications(record.id) if v.plan_key == record.summary["chosen"]
    ]
    assert target.read_bytes() == store.artefacts.path(verified.bundle_sha256).read_bytes()
    planned_on = Plan.load(str(target)).manifest.device
    assert planned_on["cpu"] == "board | box"


def test_every_plan_over_all_is_a_bundle_with_its_points_at_their_worst(done, tmp_path):
    store, record = done
    verified = {found.plan_key for found in store.list_verifications(record.id)}
    for number, entry in enumerate(store.list_plans(record.id)[-3:]):
        target = export_plan(store, entry.plan.key, tmp_path / f"{number}.pyz")
        points = {p.thresholds: p.metrics for p in Plan.load(str(target)).manifest.points}
        own = points[decode(PlanDefinition, entry.plan.definition["plan"]).thresholds]
        if entry.plan.key not in verified:  # its bundle says what was predicted before it ran
            assert own["latency_mean_ms"] == entry.value("latency_mean_ms", "tune", "predicted")


def test_running_again_asks_the_devices_for_nothing(done, spec, home, tmp_path):
    store, record = done
    before = committed(store)
    again = run_both(spec, store, replayed(home, tmp_path))
    assert again.id == record.id
    assert committed(store) == before
    for name in SLOWNESS:
        assert [kind for _, kind in probes(tmp_path / name)] == ["fingerprint"]
    unlike = {k for k in record.summary if record.summary[k] != again.summary[k]}
    assert unlike == set()


def test_jobs_and_plans_are_found_by_device(done):
    store, record = done
    jobs = jobs_of(store, record)
    assert find_job(store).id == find_job(store, "two").id == record.id
    assert find_job(store, jobs["box"].id).id == jobs["box"].id
    assert job_on_device(store, record, "bo" + "x").id == jobs["box"].id
    with pytest.raises(StoreError, match="several devices start with 'bo'"):
        job_on_device(store, record, "bo")
    with pytest.raises(StoreError, match=r"no device starts with 'pi'; job .* has board, box"):
        job_on_device(store, record, "pi")
    with pytest.raises(StoreError, match="has only one device"):
        job_on_device(store, jobs["box"], "box")
    baseline = record.summary["baseline"]
    assert find_plan(store, baseline).job_id == record.id
    assert find_plan(store, baseline, "board").job_id == jobs["board"].id


def test_the_commands_show_all_of_them_or_one(done, home):
    store, record = done

    def told(*arguments):
        path = str(home / "done" / "trimtab.db")
        found = CliRunner().invoke(app, ["--store", path, *arguments], env={"COLUMNS": "200"})
        assert found.exit_code == 0, found.output
        return found.output

    key = record.summary["chosen"]
    assert "the worst case of board, box" in told("front")
    assert "(box," in told("front", "--device", "box")
    over_all = told("show", key)
    assert "run on all devices" in over_all
    for device in SLOWNESS:
        assert f"On {device}: " in over_all
    (on_box, *_) = store.list_plans(jobs_of(store, record)["box"].id)
    assert "run on all" not in told("show", on_box.plan.key, "--device", "box")


class Busy(Wrapped):
    """Never quiet while bundles take turns."""

    def probe(self, request, **how):
        found = super().probe(request, **how)
        if kind_of(request) != "paired":
            return found
        disturbed = np.ones_like(found.arrays["round_disturbed"])
        arrays = {**found.arrays, "round_disturbed": disturbed}
        return dataclasses.replace(found, arrays=arrays, warnings=["never quiet"])


def without_turns(record):
    """A verification, on several devices, as an earlier version left it."""
    devices = {
        name: {**told, "details": {k: v for k, v in told["details"].items() if k != "paired"}}
        for name, told in record.details["devices"].items()
    }
    return dataclasses.replace(record, details={**record.details, "devices": devices})


def test_recorded_devices_without_a_quiet_moment_end_flagged(done, spec, home, store):
    """Each by itself, and all together. And a choice of before there were turns stays."""
    record = run_both(spec, store, {n: Busy(device) for n, device in replayed(home).items()})
    assert record.state == "done"
    for job in (record, *jobs_of(store, record).values()):
        view, verified = front_view(store, job), store.list_verifications(job.id)
        assert {found.plan_key for found in verified} >= {view.chosen, view.baseline}
        if len(verified) > 1:  # else nothing took turns with the baseline
            rows = [view.row(found.plan_key) for found in verified]
            of = [f"{name}: " for name in SLOWNESS] if job is record else [""]
            assert {row.disturbances for row in rows} == {tuple(f"{n}never quiet" for n in of)}
            assert {row.standing for row in rows} == {"verified, disturbed"}
    for found in store.list_verifications(record.id):
        store.put_verification(without_turns(found), replace=True)
    before = committed(store)
    again = run_both(spec, store, replayed(home))
    assert committed(store) == before, "no plan was decided on or stored anew"
    assert (again.state, again.summary) == (record.state, record.summary)
    told = [event.text for event in store.list_events(record.id)]
    assert "the choice of an earlier version, which verified plans one by one, stays" in told


class Meeting(Wrapped):
    """Waits at its first measurement until the other device measures too."""

    def __init__(self, device, both):
        super().__init__(device)
        self.both, self.met = both, False

    def probe(self, request, **how):
        if kind_of(request) == "measure" and not self.met:
            self.both.wait(timeout=PATIENCE_S)
            self.met = True
        return super().probe(request, **how)


def test_devices_are_measured_at_the_same_time_each_under_its_lease(done, spec, home, store):
    leases = []
    both = threading.Barrier(2, action=lambda: leases.extend(store.list_leases()))
    devices = {n: Meeting(device, both) for n, device in replayed(home).items()}
    record = run_both(spec, store, devices)
    assert all(device.met for device in devices.values())
    held = {*(job.id for job in jobs_of(store, record).values()), record.id}
    assert {lease.holder for lease in leases} == {f"job {job} (two)" for job in held}
    assert store.list_leases() == []


class Going(Wrapped):
    """Is lost when it shall measure something else than the first candidate. (What it traces,
    and whether, depends on the other: of like processors one traces for both.)"""

    first = None

    def probe(self, request, **how):
        if kind_of(request) == "measure":
            self.first = self.first or request
            if request != self.first:
                raise DeviceLost("the board is away")
        return super().probe(request, **how)


def test_a_lost_device_ends_its_own_job_only(done, spec, home, store, tmp_path):
    devices = replayed(home)
    record = run_both(spec, store, {**devices, "board": Going(devices["board"])})
    jobs = jobs_of(store, record)
    assert {name: job.state for name, job in jobs.items()} == {"board": "failed", "box": "done"}
    assert record.state == "failed"
    assert record.message == (
        "board: the board is away; no front over all devices. Done: box. Run the command "
        "again to resume"
    )
    assert [d["problem"] for d in devices_of(record)] == ["the board is away", None]
    assert front_view(store, jobs["box"]).chosen
    with pytest.raises(PlanningError, match="choose one device with --device: board, box"):
        front_view(store, record)
    kept = committed(store)
    again = run_both(spec, store, replayed(home, tmp_path))
    assert (again.id, again.state) == (record.id, "done")
    assert kept.items() <= committed(store).items()
    kinds = [kind for _, kind in probes(tmp_path / "box")]
    assert "trace" not in kinds
    assert front_view(store, again).chosen == done[1].summary["chosen"]


def test_where_all_are_lost_the_job_says_why(done, spec, home, store):
    devices = {name: Going(device) for name, device in replayed(home).items()}
    with pytest.raises(PlanningError, match="board: the board is away; box: the board is away"):
        run_both(spec, store, devices)
    assert [job.state for job in store.list_jobs()] == ["failed"] * 3


class Interrupting(Wrapped):
    """At its first measurement somebody presses Ctrl-C."""

    def probe(self, request, progress=None, **how):
        if kind_of(request) == "measure":
            _thread.interrupt_main()
            for done in range(1200):
                progress(done, 1200)
                time.sleep(0.05)
        return super().probe(request, progress=progress, **how)


@pytest.fixture
def heard():
    """Ctrl-C is heard, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_all_of_them(heard, done, spec, home, store):
    devices = replayed(home)
    devices |= {"box": Interrupting(devices["box"]), "board": Interrupting(devices["board"])}
    with pytest.raises(KeyboardInterrupt):
        run_both(spec, store, devices)
    jobs = store.list_jobs()
    assert {job.state for job in jobs} == {"interrupted"}
    assert len(jobs) >= 2
    assert store.list_leases() == []


def _run(spec, home, path, logs):
    with Store.open(path) as store:
        run_both(spec, store, replayed(home, logs))


@pytest.mark.parametrize("found", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_a_killed_job_goes_on(done, spec, home, store, tmp_path, found):
    """Killed when so many pieces of evidence lie in the store."""
    path, logs = tmp_path / "store" / "trimtab.db", tmp_path / "logs"
    logs.mkdir()
    process = multiprocessing.get_context("spawn").Process(
        target=_run, args=(spec, home, path, logs)
    )
    process.start()
    while process.is_alive() and len(committed(store)) < found + 2:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    for job in store.list_jobs():
        assert job_state(store, job) in ("killed", "done")
    kept, asked = committed(store), {name: probes(logs / name) for name in SLOWNESS}
    (tmp_path / "again").mkdir()
    record = run_both(spec, store, replayed(home, tmp_path / "again"))
    assert record.state == "done"
    assert kept.items() <= committed(store).items()
    for name in SLOWNESS:
        in_hand = asked[name][-1][0]  # maybe not for the first time: it may have been unsteady
        finished = {key for key, kind in asked[name] if kind != "fingerprint"} - {in_hand}
        again = {key for key, _ in probes(tmp_path / "again" / name)}
        assert not finished & again, "each device is asked again for what it had in hand only"
    expected, found = (
        [(e.plan.key, e.plan.on_front, e.plan.is_chosen) for e in opened.list_plans(job.id)]
        for opened, job in ((done[0], done[1]), (store, record))
    )
    assert found == expected


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"devices": ["local"], "device": "local"}, "give either device or devices"),
        ({"across": "worst"}, "across: worst needs several devices"),
        (
            {"devices": ["local", "local"]},
            "devices: two have the same address or name 'local'; remove one",
        ),
        (
            {"devices": ["recorded:a/x", "recorded:b/x"]},
            "devices: two have the same address or name 'x'; give one another name",
        ),
        ({"devices": ["local", "telnet://h"]}, r"devices\[1\].address: device 'telnet://h'"),
        (
            {"devices": ["local"], "across": "best"},
            "across: unknown value 'best'; choose one of 'each' or 'worst'",
        ),
    ],
)
def test_wrong_devices_are_refused(spec, given, problem):
    fields = {k: v for k, v in spec.items() if k not in ("devices", "across")}
    with pytest.raises(SpecificationError, match=problem):
        load_spec(fields | given)


def test_devices_that_stand_in_fit_the_specification(done, spec, home, store):
    with pytest.raises(SpecificationError, match="no device is called 'pi'"):
        run_both(spec, store, {"pi": replayed(home)["box"]})
    with pytest.raises(SpecificationError, match="give a device for each name"):
        run_both(spec, store, replayed(home)["box"])
    alone = {k: v for k, v in spec.items() if k not in ("devices", "across")}
    with pytest.raises(SpecificationError, match="the specification has one; give one device"):
        run_both(alone, store, replayed(home))
