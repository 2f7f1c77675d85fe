"""What the picture of a front draws."""

import numpy as np
import pandas as pd
import pytest

from trimtab.dashboard.charts import front as drawing
from trimtab.dashboard.charts.front import LOOKS, TESTED, front_picture

AXES = ("latency_mean_ms", "top1")
EVIL = "<img src=x onerror=alert(1)> {@status}"


@pytest.fixture(autouse=True)
def light(monkeypatch):
    monkeypatch.setattr(drawing, "ink", lambda: "#20242a")


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "key": ["a", "b", "c", "d"],
            "plan": ["small", EVIL, "large", "unknown"],
            "status": ["verified", "predicted", "predicted", "predicted"],
            "latency_mean_ms": [2.0, 8.0, 40.0, np.nan],
            "latency_mean_ms_measured": [2.5, np.nan, np.nan, np.nan],
            "top1": [0.5, 0.7, 0.6, 0.9],
            "top1_test": [0.48, 0.69, np.nan, np.nan],
            "top1_low": [0.4, 0.6, np.nan, np.nan],
            "top1_high": [0.55, 0.75, np.nan, np.nan],
            "peak_memory_mb": [10.0, 20.0, 30.0, 40.0],
        }
    )


def draw(frame, third=None, by_size=False, axes=AXES):
    groups = {name: np.array([], int) for name in LOOKS}
    groups |= {"front, verified": np.array([0]), "front, predicted": np.array([1])}
    groups |= {"dominated": np.array([2, 3])}
    rows = np.array([0, 1, 2])
    return front_picture(frame, groups, axes, third, by_size, np.array([1, 0]), rows)


def series(picture):
    return {each["id"]: each for each in picture.option["series"]}


def test_a_click_leads_to_the_row_of_the_plan(frame):
    picture = draw(frame)
    for name, each in series(picture).items():
        if each["type"] == "scatter":
            drawn = [point[each["dimensions"].index("plan")] for point in each["data"]]
            assert drawn == frame["plan"].iloc[picture.rows[name]].tolist()
            assert each["selectedMode"] == "single"
    assert picture.rows["dominated"].tolist() == [2], "where it lies is unknown of the other"
    assert picture.rows[TESTED].tolist() == [0, 1]


def test_names_are_data_and_never_part_of_a_template(frame):
    for each in series(draw(frame, "peak_memory_mb")).values():
        assert EVIL not in str({**each, "data": None})


def test_values_on_test_stand_at_the_measured_cost_with_their_intervals(frame):
    found = series(draw(frame))
    assert [point[:4] for point in found[TESTED]["data"]] == [
        (2.5, 0.48, 0.4, 0.55),
        (8.0, 0.69, 0.6, 0.75),
    ]
    first, second = [[2.5, 0.4], [2.5, 0.55]], [[8.0, 0.6], [8.0, 0.75]]
    assert found["intervals"]["data"] == [*first, [None, None], *second, [None, None]]


def test_axes_are_as_long_as_plans_need_whatever_the_intervals(frame):
    axis = draw(frame).option["yAxis"]
    assert (axis["min"], axis["max"]) == (0.46, 0.72)  # from 0.48 on test to 0.7
    wide = frame.assign(top1_low=0.0, top1_high=1.0)
    again = draw(wide).option["yAxis"]
    assert (again["min"], again["max"]) == (axis["min"], axis["max"])


def test_plans_that_matter_are_named_beside_their_points(frame):
    groups = {name: np.array([], int) for name in LOOKS}
    groups |= {"chosen": np.array([0]), "baseline": np.array([1]), "dominated": np.array([2])}
    none = np.array([], int)
    picture = front_picture(frame, groups, AXES, None, False, none, none)
    labels = {name: each.get("label", {}) for name, each in series(picture).items()}
    assert labels["chosen"]["formatter"] == labels["baseline"]["formatter"] == "{@plan}"
    assert labels["dominated"] == {}


def test_there_is_no_scale_of_what_nobody_knows(frame):
    unknown = frame.assign(peak_memory_mb=np.nan)
    assert "visualMap" not in draw(unknown, "peak_memory_mb").option
    assert draw(frame, "peak_memory_mb").option["title"]["text"] == "peak memory, MB"


def test_stairs_lead_from_the_cheapest_to_the_best(frame):
    stairs = series(draw(frame))["stairs"]
    assert stairs["data"] == [[2.0, 0.5], [8.0, 0.7]]
    assert stairs["step"] == "end"


def test_costs_that_span_much_are_drawn_by_their_logarithm(frame):
    option = draw(frame).option
    assert option["xAxis"]["type"] == "log"
    assert option["xAxis"]["min"] < 2 < 40 < option["xAxis"]["max"]
    assert option["xAxis"]["axisLabel"]["customValues"] == [2, 5, 10, 20]
    assert option["yAxis"]["type"] == "value"
    assert draw(frame, axes=("peak_memory_mb", "top1")).option["xAxis"]["type"] == "value"


def test_a_third_metric_is_a_colour_or_a_size(frame):
    coloured, sized = draw(frame, "peak_memory_mb"), draw(frame, "peak_memory_mb", by_size=True)
    bar = coloured.option["visualMap"]
    assert (bar["min"], bar["max"]) == (10.0, 20.0)
    full, hollow = (series(coloured)[f"front, {name}"] for name in ("verified", "predicted"))
    assert full["data"][0]["itemStyle"]["color"] == bar["inRange"]["color"][0] == "#440154"
    assert hollow["data"][0]["itemStyle"]["borderColor"] == bar["inRange"]["color"][-1]
    assert hollow["data"][0]["itemStyle"]["color"] == "transparent"
    assert "visualMap" not in sized.option
    sizes = [series(sized)[f"front, {n}"]["data"][0] for n in ("verified", "predicted")]
    assert [point["symbolSize"] for point in sizes] == [7, 22]


def test_the_legend_takes_more_lines_where_it_is_narrow(frame):
    option = draw(frame).option
    (narrow,) = option["media"]
    assert narrow["option"]["grid"]["top"] > option["grid"]["top"]
    named = [each.get("name") for each in option["series"]]
    assert option["legend"]["data"] == [name for name in named if name]


def test_words_say_what_is_drawn(frame):
    alt = draw(frame).alt
    assert alt.startswith("top-1 accuracy over mean latency, ms: 2 plans on the front; ")
    assert "1 dominated" in alt
