"""What the dashboard asks of planner: answers, waterfalls, fronts, quality of measurements."""

import numpy as np
import pytest
import yaml

from trimtab.db import Store
from trimtab.planner.jobs.lookup import find_job
from trimtab.planner.reports.answers.inputs import job_inputs
from trimtab.planner.reports.answers.plan_answers import PlanAnswers, lead, plan_answers
from trimtab.planner.reports.front import front_view
from trimtab.planner.reports.front_frame import front_frame, front_of, known_metrics, within
from trimtab.planner.reports.layers import layers_of, why_no_layers
from trimtab.planner.reports.measurements import measured_variants, same_elsewhere, samples_of
from trimtab.planner.reports.plan.report import report_plan
from trimtab.planner.reports.plan.waterfall import waterfall
from trimtab.planner.reports.speedup import LATENCY
from trimtab_runtime.errors import PlanningError


@pytest.fixture(scope="module")
def store(finished):
    with Store.open(finished / "store" / "trimtab.db", read_only=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def streamed(tmp_path_factory, tools):
    """A store with a job over a stream of moved frames."""
    folder = tmp_path_factory.mktemp("streamed")
    spec = tools.write_zoo(folder)
    stream = {"kind": "dwelling", "frames": 40, "mean_frames": 4}
    spec["workload"]["stream"] = stream
    (folder / "job.yaml").write_text(yaml.safe_dump(spec, allow_unicode=True), encoding="utf-8")
    tools.plan_quickly(folder)
    with Store.open(folder / "store" / "trimtab.db", read_only=True) as opened:
        yield opened


@pytest.mark.parametrize("kind", ["store", "streamed"])
def test_answers_give_the_figures_that_the_job_reported(request, kind):
    opened = request.getfixturevalue(kind)
    job = find_job(opened)
    inputs = job_inputs(job)
    told = 0
    for entry in opened.list_plans(job.id):
        figure = entry.value("top1", "test", "replayed")
        found = plan_answers(opened, job, entry.plan, inputs)
        assert found.source == "replayed"
        assert (found.right == (found.answer == inputs.labels)).all()
        if figure is not None:
            told += 1
            assert found.right.mean() == pytest.approx(figure, abs=1e-6)
    assert told >= 2
    assert all(path.is_file() for path in inputs.paths)


def test_answers_without_a_trace_are_not_known(finished, store, tmp_path):
    job = find_job(store)
    inputs = job_inputs(job)
    plan = store.list_plans(job.id)[0].plan
    shifted = type(inputs)(**{**vars(inputs), "images": inputs.images[1:]})
    with pytest.raises(PlanningError, match="is not in the store"):
        plan_answers(store, job, plan, shifted)


def test_a_lead_has_an_interval_of_paired_differences(store):
    inputs = job_inputs(find_job(store))
    inputs = type(inputs)(**{**vars(inputs), "blocks": np.arange(100)})
    right, better = np.arange(100) % 2 == 0, np.arange(100) % 4 < 3
    first, second = (PlanAnswers(None, values, "replayed") for values in (better, right))
    points, low, high = lead(first, second, inputs)
    assert points == pytest.approx(0.25)
    assert 0.15 < low < 0.25 < high < 0.36  # 0.25 +- 1.96 sqrt(0.25 * 0.75 / 100)
    assert lead(second, first, inputs)[0] == pytest.approx(-0.25)
    together = type(inputs)(**{**vars(inputs), "blocks": np.arange(100) // 20})
    assert lead(first, second, together) is None  # five blocks tell nothing
    assert lead(first, PlanAnswers(None, None, "replayed"), inputs) is None


def test_a_waterfall_leads_from_the_baseline_to_the_plan(store):
    job = find_job(store)
    view = front_view(store, job)
    baseline = view.row(view.baseline)
    seen = 0
    for row in view.rows:
        steps = waterfall(report_plan(store, store.find_plan(row.key, job_id=job.id)), baseline)
        if row.key == view.baseline:
            assert steps == []
            continue
        seen += 1
        changes = sum(step.ms for step in steps if step.kind == "change")
        assert steps[0].ms == baseline.figure(LATENCY).predicted
        assert steps[-1].ms == row.figure(LATENCY).predicted
        assert steps[0].ms + changes == pytest.approx(steps[-1].ms, abs=2e-3)
    assert seen


def test_a_report_on_a_known_front_is_that_of_the_plan_alone(store):
    view = front_view(store, find_job(store))
    for row in view.rows:
        plan = store.find_plan(row.key, job_id=view.job_id)
        assert report_plan(store, plan, view) == report_plan(store, plan)


def test_limits_and_fronts_of_a_frame(store):
    frame = front_frame(front_view(store, find_job(store)))
    frame = frame.iloc[[0, 0, 0, 0]].reset_index(drop=True)
    frame["top1"] = [0.9, 0.8, 0.7, np.nan]
    frame[LATENCY] = [9.0, 5.0, 6.0, 1.0]
    everything = within(frame, {})
    assert everything.all()
    assert front_of(frame, ["top1", LATENCY], everything).tolist() == [True, True, False, False]
    slow = within(frame, {LATENCY: (None, 8.0)})
    assert slow.tolist() == [False, True, True, True]
    assert within(frame, {"top1": (0.75, None)}).tolist() == [True, True, False, False]
    assert front_of(frame, ["top1", LATENCY], slow).tolist() == [False, True, False, False]
    assert not front_of(frame, ["top1"], ~everything).any()


def test_known_metrics_begin_with_the_objectives(store):
    view = front_view(store, find_job(store))
    assert known_metrics(view)[:3] == list(view.objectives)


def test_how_well_variants_were_measured(store):
    (device,) = store.list_devices()
    found = measured_variants(store, device.key)
    assert len(found) >= 2
    for measured in found:
        samples = samples_of(measured.record)
        hot = [s["ms"] for s in samples if s["what"] == "inference, warm cache"]
        assert measured.hot_ms == pytest.approx(np.median(hot))
        assert 0 < min(s["share"] for s in samples) < max(s["share"] for s in samples) < 1
        assert measured.spread > 0
        assert measured.options == "onnxruntime, 1 thread"


def test_layers_of_a_measured_variant(store):
    (device,) = store.list_devices()
    record = measured_variants(store, device.key)[0].record
    assert why_no_layers(store, record) is None
    found = layers_of(store, record)
    assert "Conv" in {each.operator for each in found.operators}
    assert sum(each.share for each in found.operators) == pytest.approx(1)


def test_a_job_without_a_twin_is_alone(store):
    job = find_job(store)
    assert same_elsewhere(store.list_jobs(), job) == [job]
