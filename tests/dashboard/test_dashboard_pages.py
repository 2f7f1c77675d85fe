"""Every page over stores of several kinds, without a browser."""

import html
import re
import shutil
import sys
from dataclasses import replace

import pytest
import yaml
from sample_devices import record_both, two_devices
from sqlalchemy import Engine, event
from streamlit.testing.v1 import AppTest

import trimtab
from trimtab.db import DeviceRecord, EventRecord, Store, utc_now
from trimtab.planner.jobs.lifecycle import job_id_of
from trimtab.planner.jobs.lookup import devices_of, find_job
from trimtab.planner.reports.front import front_view
from trimtab.planner.specification.job import spec_key

PAGES = ("overview", "jobs", "front", "plan", "compare", "devices", "start")


def opened(store, page):
    from trimtab.dashboard.application import run
    from trimtab.planner.jobs.store_location import StoreLocation

    run(StoreLocation(store, None), page)


@pytest.fixture
def look(monkeypatch):
    """A page of the application on a store, at an address."""
    # Streamlit puts its script in this place; processes that later tests spawn would run it.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])

    def run(store, page="jobs", **parameters):
        app = AppTest.from_function(opened, default_timeout=120, args=(str(store), page))
        for name, value in parameters.items():
            app.query_params[name] = value
        app.run()
        assert not app.exception, [found.value for found in app.exception]
        return app

    return run


def texts(app):
    """Everything that a page says through our markup."""
    return "\n".join(element.proto.body for element in app.get("html"))


@pytest.fixture(scope="module")
def path(finished):
    return finished / "store" / "trimtab.db"


@pytest.fixture
def own(finished, tmp_path):
    """A copy of the finished job's store, to be written to."""
    shutil.copytree(finished / "store", tmp_path / "store")
    return tmp_path / "store" / "trimtab.db"


@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_what_to_do_where_there_is_no_store(look, tmp_path, page):
    app = look(tmp_path / "none" / "trimtab.db", page)
    if page != "start":
        assert "tt-empty" in texts(app)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_what_to_do_where_there_are_no_jobs(look, tmp_path, page):
    store = tmp_path / "trimtab.db"
    Store.open(store).close()
    app = look(store, page)
    if page != "start":
        assert "tt-empty" in texts(app)


@pytest.mark.parametrize("page", PAGES)
def test_names_are_text_on_every_page(look, path, tools, page):
    app = look(path, page)
    told = texts(app)
    assert "<img" not in told
    assert "<b>small" not in told
    if page in ("overview", "jobs", "front", "plan", "compare"):
        assert html.escape(tools.EVIL) in told
    for kind in ("markdown", "caption", "title", "header"):
        assert not any("**b**" in element.value for element in app.get(kind))


def test_nothing_is_written_by_looking(look, path):
    before = path.read_bytes()
    for page in PAGES:
        look(path, page)
    assert path.read_bytes() == before


def test_a_damaged_address_is_told(look, path):
    assert "no job of this store has the id nobody" in texts(look(path, "front", job="nobody"))
    assert "begins with" in texts(look(path, "plan", plan="zzz"))


def test_a_plan_is_explained(look, path):
    with Store.open(path, read_only=True) as store:
        job = find_job(store)
        chosen = next(e.plan for e in store.list_plans(job.id) if e.plan.is_chosen)
    told = texts(look(path, "plan", job=job.id, plan=chosen.key[:12]))
    for part in ("Structure", "Accuracy, class by class", "Predicted against measured"):
        assert part in told
    assert "peak_memory_mb &lt;= 10000" in told
    assert "the verified file itself" in told
    assert "original model" in told
    assert "Lowest recall: " in told
    assert '<table class="tt-matrix"><caption' in told  # read out row by row
    names = [f"grating {label}" for label in range(4)]
    assert any(f'<th title="{name}" scope="row">' in told for name in names)


def test_two_plans_are_compared(look, path):
    app = look(path, "compare")
    if len(app.multiselect[0].value) < 2:
        app.multiselect[0].set_value(app.multiselect[0].options[:2]).run()
    assert "Agreement, input by input" in texts(app)
    assert "Structure" in texts(app)
    (pair,) = [f.value for f in app.dataframe if "both_right" in f.value]
    counts = pair[["both_right", "first_only", "second_only", "both_wrong"]]
    assert int(counts.to_numpy().sum()) == 14  # the inputs of test
    difference = (pair["first_only"] - pair["second_only"]).iloc[0] / 14
    assert pair["lead"].iloc[0] == pytest.approx(100 * difference)
    assert pair["low"].iloc[0] <= pair["lead"].iloc[0] <= pair["high"].iloc[0]


def test_the_baseline_is_compared_first(look, path):
    app = look(path, "compare")
    with Store.open(path, read_only=True) as store:
        summary = find_job(store).summary
    usual = [summary["baseline"], summary["chosen"]]
    assert app.multiselect[0].value == list(dict.fromkeys(filter(None, usual)))


def test_what_was_measured_is_not_compared_with_what_was_predicted():
    from trimtab.dashboard.pages.compare import _values
    from trimtab.planner.reports.figures import MetricValues

    verified = MetricValues("latency_mean_ms", decided=9.0, predicted=10.0, measured=11.0)
    other = MetricValues("latency_mean_ms", decided=4.0, predicted=5.0)
    assert _values([verified, verified]) == ("measured", [11.0, 11.0])
    assert _values([verified, other]) == ("predicted", [10.0, 5.0])
    assert _values([other, MetricValues("latency_mean_ms", None)])[1] == [5.0, None]
    assert _values([MetricValues("top1", None)]) == ("", [None])


def test_a_limit_moves_the_front(look, path):
    app = look(path, "front")
    (slider,) = [s for s in app.slider if s.label == "mean latency, ms at most"]
    slider.set_value(slider.min).run()
    assert "No plan is within the limits" in texts(app)
    slider.set_value(slider.max).run()
    assert "No plan is within the limits" not in texts(app)


def test_limits_choose_a_plan(look, path):
    app = look(path, "front")
    assert "Within your limits" not in texts(app)
    (slider,) = [s for s in app.slider if s.label == "mean latency, ms at most"]
    slider.set_value(slider.max - slider.step).run()
    told = texts(app)
    assert ("Within your limits" in told) != ("No plan is within the limits" in told)


def test_the_plan_within_limits_is_the_cheapest_that_is_good_enough(path):
    import numpy as np
    import pandas as pd

    from trimtab.dashboard.pages.front import best_within

    with Store.open(path, read_only=True) as store:
        view = front_view(store, find_job(store))
    frame = pd.DataFrame({"top1": [0.9, 0.8, 0.7, np.nan], "latency_mean_ms": [9.0, 5.0, 1, 0.5]})
    everything = np.ones(4, bool)
    assert best_within(view, frame, everything, {"latency_mean_ms": (None, 10.0)}) == 0
    assert best_within(view, frame, everything, {"top1": (0.6, None)}) == 2
    assert best_within(view, frame, frame["top1"].to_numpy() > 0.75, {"top1": (0.75, None)}) == 1
    assert best_within(view, frame, ~everything, {"top1": (0.95, None)}) is None


def test_the_first_page_begins_with_what_to_ship(look, path):
    app = look(path, "overview")
    told = texts(app)
    assert "tt-verdict-text" in told
    assert re.search("Ship |Nothing beat ", told)
    assert told.index("Jobs") > told.index("tt-verdict-text")
    assert [text.value for text in app.text] == [f"Store: {path}"]


def test_a_job_is_edited_and_runs_again(look, path):
    with Store.open(path, read_only=True) as store:
        job = find_job(store)
    app = look(path, "start", job=job.id)
    (area,) = app.text_area
    assert yaml.safe_load(area.value) == job.spec
    assert "start-edited" in [button.key for button in app.button]
    area.set_value(area.value.replace("verify: 0", "verify: -1")).run()
    assert "verify" in texts(app)
    assert "start-edited" not in [button.key for button in app.button]


def test_jobs_are_found_by_any_of_their_words():
    import pandas as pd

    from trimtab.dashboard.panels.job_table import matching

    texts = {"workload": "photos", "chosen": None, "state": "done", "device": "local"}
    jobs = [{**texts, "id": "a", "name": "Line 7", "tags": "nightly, camera"}]
    jobs.append({**texts, "id": "b", "name": "line 8", "tags": ""})
    frame = pd.DataFrame(jobs)
    assert matching(frame, "")["id"].tolist() == ["a", "b"]
    assert matching(frame, "LINE done")["id"].tolist() == ["a", "b"]
    assert matching(frame, "line camera")["id"].tolist() == ["a"]
    assert matching(frame, "camera 8")["id"].tolist() == []


def test_tags_are_no_part_of_what_a_job_does(finished):
    spec = trimtab.load_spec(finished / "job.yaml")
    tagged = spec.model_copy(update={"tags": ("nightly",)})
    keys = ("device", "workload")
    assert "tags" not in spec.model_dump(mode="json")
    assert tagged.model_dump(mode="json")["tags"] == ["nightly"]
    assert job_id_of(spec, *keys) == job_id_of(tagged, *keys)
    assert spec_key(spec) == spec_key(tagged)


def test_a_third_objective_is_drawn(look, path):
    app = look(path, "front")
    app.selectbox(key="third").set_value("peak_memory_mb").run()
    for how in ("size", "colour"):
        app.selectbox(key="third_as").set_value(how).run()
        assert not app.exception


def test_warnings_and_failures_are_told_with_their_reasons(look, own):
    with Store.open(own) as store:
        job = find_job(store)
        store.update_job(job.id, state="failed", message="no <i>member</i> could be measured")
        store.add_event(EventRecord(job.id, utc_now(), "error", "large 1t", "it & crashed"))
    told = texts(look(own, job=job.id))
    assert "no &lt;i&gt;member&lt;/i&gt; could be measured" in told
    assert "it &amp; crashed" in told


def test_a_job_without_its_process_is_killed_and_can_go_on(look, own):
    with Store.open(own) as store:
        job = find_job(store)
        store.update_job(job.id, state="running")
    app = look(own, job=job.id)
    assert "Its process ended unexpectedly" in texts(app)
    assert "Resume" in [button.label for button in app.button]


def test_a_running_job_shows_its_progress(look, own):
    with Store.open(own) as store:
        job = find_job(store)
        progress = {"step": "verify", "detail": "small", "done": 3, "total": 4}
        store.update_job(job.id, state="running", progress=progress)
        with store.lease(job.device_key, holder=f"job {job.id} ({job.name})"):
            app = look(own)
    told = texts(app)
    assert "width:75.0%" in told
    assert "verifying small" in told
    assert "started in a terminal" in told  # this test's process, not one of the dashboard's


def test_the_same_job_on_several_devices(look, own):
    with Store.open(own) as store:
        job = find_job(store)
        here = store.get_device(job.device_key)
        board = DeviceRecord("b" * 64, "ssh://board", {**here.fingerprint, "cpu": "Cortex-A72"})
        store.put_device(board)
        other = replace(job, id="b" * 12, device_key=board.key)
        other = replace(other, spec={**job.spec, "device": "ssh://board"})
        store.add_job(other)
        entries = store.list_plans(job.id)
        store.replace_plans(
            other.id,
            [replace(e.plan, job_id=other.id) for e in entries],
            [replace(m, job_id=other.id) for e in entries for m in e.metrics.values()],
        )
    app = look(own, "devices")
    (frame,) = [f.value for f in app.dataframe if "device" in f.value]
    assert sorted(frame["role"]) == ["baseline", "baseline", "chosen", "chosen"]
    assert frame["device"].nunique() == 2


@pytest.mark.slow
def test_a_job_over_several_devices_and_those_of_each(look, tmp_path):
    path = tmp_path / "store" / "trimtab.db"
    with Store.open(path) as store:
        job = record_both(two_devices(tmp_path), store, tmp_path)
        parts = [device["job"] for device in devices_of(job)]
    assert "the worst case of board, box" in texts(look(path, job=job.id))
    for each in (job.id, *parts):
        assert "the verified file itself" in texts(look(path, "plan", job=each))
        for page in ("front", "compare"):
            assert 'class="tt-problem' not in texts(look(path, page, job=each))
    app = look(path, "plan", job=job.id)
    assert any("this plan" in found.value for found in app.dataframe), "class by class"
    (frame,) = [f.value for f in look(path, "devices").dataframe if "device" in f.value]
    assert sorted(frame["role"]) == ["baseline", "baseline", "chosen", "chosen"]
    assert {name.split(" (")[1].split(",")[0] for name in frame["device"]} == {"board", "box"}


def test_lost_photographs_are_told(look, own):
    with Store.open(own) as store:
        job = find_job(store)
        work = {**job.spec["workload"], "images": "/nowhere/at/all"}
        store.add_job(replace(job, id="c" * 12, spec={**job.spec, "workload": work}))
        entries = store.list_plans(job.id)
        store.replace_plans(
            "c" * 12,
            [replace(e.plan, job_id="c" * 12) for e in entries],
            [replace(m, job_id="c" * 12) for e in entries for m in e.metrics.values()],
        )
    told = texts(look(own, "plan", job="c" * 12))
    assert "photographs of this job cannot be read" in told
    assert 'class="tt-matrix"' in told  # which needs no photographs


def test_errors_stand_at_their_fields(look, finished, tmp_path):
    app = look(tmp_path / "trimtab.db", "start")
    app.text_input(key="start-folder").set_value(str(finished))
    app.text_input(key="form-model-0-path").set_value("zoo/small.onnx")
    app.text_input(key="form-model-1-path").set_value("zoo/gone.onnx")
    app.text_area(key="form-constraints").set_value("top1 >>= 3")
    app.button(key="start-form").click().run()
    told = texts(app)
    assert "<b>constraints</b>" in told
    assert "is not a constraint" in told
    app.text_area(key="form-constraints").set_value("")
    app.button(key="start-form").click().run()
    told = texts(app)
    assert "models[1].path" in told
    assert "no such file" in told
    assert "models[0].path" not in told
    assert not (tmp_path / "trimtab.db").exists()


@pytest.fixture
def fronts_read():
    """Statements that read the figures of all plans of a job, as a front needs them."""
    found = []

    def note(connection, cursor, statement, *_):
        where = statement.partition("WHERE")[2]
        if "FROM trimtab_plan_metric" in statement and "plan_key" not in where:
            found.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield found
    event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("page", ["plan", "compare"])
def test_a_page_reads_a_front_once(path, tmp_path, look, fronts_read, page):
    shutil.copytree(path.parent, tmp_path / "store")  # of which no page has kept anything
    look(tmp_path / "store" / path.name, page)
    assert len(fronts_read) == 1
    look(tmp_path / "store" / path.name, "plan")
    assert len(fronts_read) == 1
