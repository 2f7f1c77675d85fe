"""Macro F1 and recalls in tables, files and pictures, with class names that are hostile."""

import csv
import io

import pytest
from PIL import Image
from rich.console import Console

from trimtab.db import DeviceRecord, JobRecord, PlanMetricRecord, PlanRecord, Store
from trimtab.planner.cli.console import console
from trimtab.planner.cli.front_table import front_table as front_in_short
from trimtab.planner.cli.tables import csv_text, full_front_table, json_text, quality_table
from trimtab.planner.reports.front import front_view
from trimtab.planner.reports.plan.report import _constraints
from trimtab.planner.reports.plots.front import write_plot
from trimtab.planner.reports.plots.style import axis_name
from trimtab.planner.reports.text import cell

CLASS = "<b>$\\frac x$ my_class, [red]: \x1b[31m"
RECALL = f"recall[{CLASS}]"
SHOWN = RECALL.replace("\x1b", "\N{REPLACEMENT CHARACTER}")
SPEC = {
    "objectives": {RECALL: "max", "latency_mean_ms": "min"},
    "constraints": [f"{RECALL} >= baseline - 0.1", "macro_f1 >= 0.99"],
}


@pytest.fixture
def found(tmp_path):
    """A view and its job, of a baseline and a better plan."""
    with Store.open(tmp_path / "trimtab.db") as store:
        store.put_device(DeviceRecord("dev", "local", {"cpu": "Tiny", "cores": "2"}))
        summary = {"baseline": "base", "quality": [RECALL, "macro_f1"]}
        job = JobRecord("abc1", "job", SPEC, "0" * 64, device_key="dev", summary=summary)
        store.add_job(job)
        plans, metrics = [], []
        for number, key in enumerate(("base", "fast", "slow", "last")):
            marks = {"is_baseline": key == "base", "is_chosen": key == "fast", "on_front": True}
            plans.append(PlanRecord(job.id, key, key, {}, feasible="yes", **marks))
            for name, value in ((RECALL, 0.5 + number / 10), ("macro_f1", 0.25)):
                for split, basis, low in (
                    ("tune", "guarded", None),
                    ("tune", "replayed", None),
                    ("test", "replayed", value - 0.125),
                ):
                    high = None if low is None else value + 0.125
                    record = PlanMetricRecord(
                        job.id, key, name, split, basis, value - len(basis) / 100, low, high
                    )
                    metrics.append(record)
            metrics.append(
                PlanMetricRecord(
                    job.id, key, "latency_mean_ms", "tune", "predicted", 9.0 - 2 * number
                )
            )
        store.replace_plans(job.id, plans, metrics)
        yield front_view(store, job), job


def text_of(printed, width):
    screen = console(io.StringIO())
    screen = Console(file=screen.file, markup=False, emoji=False, highlight=False, width=width)
    screen.print(printed)
    return screen.file.getvalue()


def test_a_recall_is_a_figure_like_others(found):
    view, _ = found
    figure = view.row("fast").figure(RECALL)
    assert (view.quality, view.cost) == (RECALL, "latency_mean_ms")
    assert figure.decided == pytest.approx(0.6 - 0.07)
    assert figure.replayed == figure.test == pytest.approx(0.6 - 0.08)
    assert (figure.low, figure.high) == pytest.approx((0.475, 0.725))
    assert [row.key for row in view.pick(3)][:2] == ["base", "fast"]


@pytest.mark.parametrize("width", [200, 100])
def test_tables_take_class_names_literally(found, width):
    view, _ = found
    shown = text_of(full_front_table(view, view.rows, width), width)
    assert "recall" in shown
    assert "my_class" in shown
    assert "[red]" in shown
    assert "0.530" in shown
    qualities = text_of(quality_table(view.row("fast")), 200)
    assert SHOWN in qualities
    assert "macro_f1" in qualities
    assert "0.170" in qualities  # replayed
    short = text_of(front_in_short(view, view.rows, width), width)
    assert "my_class" in short and "[red]" in short
    assert "\x1b" not in shown + qualities + short


def test_files_name_it_as_the_job_does(found):
    view, _ = found
    rows = list(csv.DictReader(io.StringIO(csv_text(view.rows, view.objectives))))
    name = cell(RECALL)
    assert float(rows[1][f"{name}_tune_guarded"]) == pytest.approx(0.53)
    assert float(rows[1][f"{name}_test_high"]) == pytest.approx(0.725)
    assert "my_class" in json_text(view.plain(view.rows))


@pytest.mark.parametrize("suffix", [".png", ".html"])
def test_pictures_take_class_names_literally(found, tmp_path, suffix):
    view, _ = found
    target = write_plot(view, view.rows, tmp_path / f"front{suffix}")
    if suffix == ".png":
        with Image.open(target) as picture:
            assert picture.size[0] > 600
    else:
        page = target.read_text(encoding="utf-8")
        assert "my_class" in page
        assert "<b>$" not in page.replace("\\u003c", "<").replace("\\u003e", ">")


def test_names_for_people():
    assert axis_name("macro_f1") == "macro F1"
    assert axis_name("recall[my_class]") == "recall of my_class"


def test_constraints_are_explained_with_what_decided(found):
    view, job = found
    told = _constraints(job, view, view.row("fast"))
    assert [rule.met for rule in told] == ["yes", "no"]
    assert told[0].limit == pytest.approx(0.5 - 0.08 - 0.1)
    assert told[0].value == pytest.approx(0.53)
