"""Views and plots over a store that is filled by hand with what jobs rarely give."""

import io

import pytest
from PIL import Image
from rich.console import Console

from trimtab.db import (
    DeviceRecord,
    JobRecord,
    PlanMetricRecord,
    PlanRecord,
    Store,
    VerificationRecord,
)
from trimtab.planner.cli.console import console
from trimtab.planner.cli.progress import LineWatcher, LiveWatcher
from trimtab.planner.cli.tables import full_front_table
from trimtab.planner.jobs.lookup import find_job, job_state
from trimtab.planner.jobs.progress import time_text
from trimtab.planner.reports.figures import MetricValues
from trimtab.planner.reports.front import front_view
from trimtab.planner.reports.plots.front import write_plot
from trimtab.planner.reports.speedup import SpeedUp
from trimtab_runtime.errors import PlanningError, StoreError

_SPEC = {"objectives": {"top1": "max", "latency_mean_ms": "min"}, "constraints": []}
_HOSTILE = "[bold]</script><img src=x> $x^2$ \x1b[31m \u7532"


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "trimtab.db") as store:
        store.put_device(DeviceRecord("dev", "local", {"cpu": "Tiny", "cores": "2"}))
        yield store


def add_job(store, job_id="abc1", name="job", state="done", **changes):
    record = JobRecord(job_id, name, _SPEC, "0" * 64, state=state, device_key="dev", **changes)
    store.add_job(record)
    return record


def add_plans(store, job_id, plans):
    """plans: (key, label, top1, latency, marks)."""
    records, metrics = [], []
    for key, label, top1, latency, marks in plans:
        records.append(PlanRecord(job_id, key, label, {}, **marks))

        def metric(name, split, basis, value, low=None, high=None, key=key):
            metrics.append(PlanMetricRecord(job_id, key, name, split, basis, value, low, high))

        metric("top1", "tune", "guarded", top1 - 0.01)
        metric("top1", "tune", "replayed", top1)
        if latency is not None:
            metric("latency_mean_ms", "tune", "predicted", latency)
            metric("latency_mean_ms", "test", "predicted", latency * 1.1)
        if marks:
            metric("top1", "test", "replayed", top1 - 0.02, top1 - 0.1, top1 + 0.05)
    store.replace_plans(job_id, records, metrics)


def many(count):
    front = {"on_front": True, "feasible": "yes"}
    plans = [(f"k{i:03}", f"plan {i}", 0.5 + i / 400, 1.0 + i, front) for i in range(count)]
    plans.append(("chosen", _HOSTILE, 0.9, 20.0, {**front, "is_chosen": True}))
    plans.append(("base", "base 1t", 0.91, 40.0, {**front, "is_baseline": True}))
    plans.append(("weak", "weak 1t", 0.4, 30.0, {"is_baseline": True, "feasible": "no"}))
    plans.append(("poor", "poor", 0.3, 50.0, {}))
    plans.append(("blank", "blank", 0.3, None, {}))
    return plans


def test_roles_speedups_and_status(store):
    job = add_job(store, summary={"baseline": "base"})
    add_plans(store, job.id, many(3))
    store.put_verification(VerificationRecord(job.id, "k001", None, {}, {}, "failed", "it broke"))
    for key, value in (("base", 50.0), ("chosen", 10.0)):
        store.put_verification(
            VerificationRecord(job.id, key, "f" * 64, {"latency_mean_ms": value}, {})
        )
        store.put_plan_metrics(
            [PlanMetricRecord(job.id, key, "latency_mean_ms", "test", "measured", value)]
        )
    view = front_view(store, job)
    rows = {row.key: row for row in view.rows}
    assert rows["base"].roles == ("baseline", "front")
    assert rows["weak"].roles == ("member",)
    assert (view.baseline, view.chosen) == ("base", "chosen")
    assert rows["chosen"].speedup == SpeedUp(5.0, "measured, not paired")
    assert rows["k000"].speedup == SpeedUp(40.0, "predicted")
    assert rows["blank"].speedup is None
    assert [rows[k].status for k in ("base", "k001", "k002")] == [
        "verified",
        "failed",
        "predicted",
    ]
    assert rows["chosen"].figure("latency_mean_ms").error == pytest.approx(1.2)
    assert rows["k000"].figure("latency_mean_ms").error is None


def test_a_limited_front_spans_it_and_keeps_what_matters(store):
    job = add_job(store, summary={"baseline": "base"})
    add_plans(store, job.id, many(60))
    view = front_view(store, job)
    keys = [row.key for row in view.pick(10)]
    assert len(keys) == 10
    assert {"chosen", "base", "weak", "k000", "k059"} <= set(keys)
    assert "poor" not in keys
    assert "poor" in [row.key for row in view.pick(None, dominated=True)]
    assert [row.key for row in view.rows if row.key in keys] == keys


def test_without_a_summary_the_most_capable_member_is_the_baseline(store):
    job = add_job(store)
    add_plans(store, job.id, many(2))
    assert front_view(store, job).baseline == "base"


def test_a_job_without_plans_says_what_became_of_it(store):
    job = add_job(store, state="failed", message="no model could be loaded")
    with pytest.raises(PlanningError, match="the job failed; no model could be loaded"):
        front_view(store, job)


def test_jobs_are_found_by_beginning_and_name(store):
    with pytest.raises(StoreError, match="there are no jobs yet"):
        find_job(store)
    for number, name in enumerate(("one", "two", "two")):
        add_job(store, f"abc{number}", name)
    assert find_job(store).id == "abc2"
    assert find_job(store, "two").id == "abc2"
    assert find_job(store, "abc0").name == "one"
    with pytest.raises(StoreError, match="3 jobs start with 'ab'"):
        find_job(store, "ab")
    with pytest.raises(StoreError, match=r"no job has the name ''"):
        find_job(store, "")


def test_a_job_that_lost_its_process_is_killed(store):
    job = add_job(store, state="running")
    assert job_state(store, job) == "killed"
    with store.lease("dev", holder=f"job {job.id} (job)"):
        assert job_state(store, job) == "running"
    with store.lease("dev", holder="job other (job)"):
        assert job_state(store, job) == "killed"


@pytest.mark.parametrize("plans", [0, 40])
@pytest.mark.parametrize("suffix", [".png", ".html"])
def test_pictures_take_labels_literally(store, tmp_path, plans, suffix):
    job = add_job(store, name="<b>$name$", summary={"baseline": "base"})
    add_plans(store, job.id, many(plans))
    view = front_view(store, job)
    target = write_plot(view, view.pick(None, dominated=True), tmp_path / f"front{suffix}")
    if suffix == ".png":
        with Image.open(target) as image:
            image.verify()
    else:
        text = target.read_text(encoding="utf-8")
        assert "<img src=x>" not in text
        assert "<script src=" not in text


def test_a_plot_of_another_kind_is_refused(store, tmp_path):
    job = add_job(store)
    add_plans(store, job.id, many(1))
    with pytest.raises(PlanningError, match=r"must be an \.html or \.png file"):
        write_plot(front_view(store, job), [], tmp_path / "front.pdf")


def test_tables_take_labels_literally(store):
    job = add_job(store)
    add_plans(store, job.id, many(1))
    view = front_view(store, job)
    screen = io.StringIO()
    console(screen).print(full_front_table(view, view.rows, 200))
    assert "[bold]</script>" in screen.getvalue()
    assert "\x1b" not in screen.getvalue()


def test_a_figure_without_measurement_has_no_error():
    assert MetricValues("latency_mean_ms", 1.0, predicted=1.0).error is None
    assert MetricValues("latency_mean_ms", 1.0, predicted=1.0, measured=0.0).error is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3900, "1 h 05 min"),
    ],
)
def test_time_is_told_for_people(seconds, text):
    assert time_text(seconds) == text


def test_lines_are_written_at_changes_only():
    screen = io.StringIO()
    with LineWatcher(console(screen)) as watcher:
        watcher.step("members", "net", 0, 2)
        for done in range(0, 100, 10):
            watcher.step("trace", "net", done, 100)
        watcher.note("warning", "net", "unstable; close other programs")
        watcher.note("info", "", "half way")
        watcher.step("search", "composing plans", 0, 1)
        watcher.step("search", "", 1, 1)
    assert screen.getvalue().splitlines() == [
        "reading models net (1/2)",
        "tracing net (100 images)",
        "warning: net: unstable; close other programs",
        "half way",
        "searching: composing plans",
    ]


def test_the_live_display_prints_notes_above_its_bars():
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100, markup=False)
    with LiveWatcher(terminal) as watcher:
        watcher.step("members", "net", 0, 1)
        watcher.step("measure", "net 1t", 0.0, 1.0)
        watcher.step("trace", "net", 5, 10)
        watcher.step("measure", "net 2t", 0.5, 1.0)
        watcher.note("error", "net 2t", "[red] refused")
        watcher.step("verify", "net 1t", 0, 1)
    text = screen.getvalue()
    assert "error: net 2t: [red] refused" in text
    assert "measuring" in text
    assert "100%" in text
