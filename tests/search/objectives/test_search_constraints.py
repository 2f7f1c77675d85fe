"""Constraints: how they read, and that unknown is no yes."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples

from trimtab.search.objectives.constraints import Constraint, feasible
from trimtab_runtime.errors import SpecificationError
from trimtab_runtime.metrics import METRICS, find_metric

BASELINE = {
    "top1": 0.8,
    "latency_mean_ms": 20.0,
    "recall[not so good]": 0.7,
    "recall[a[0]]": 0.6,
}


@pytest.mark.parametrize(
    ("text", "metric", "sign", "limit"),
    [
        ("latency_p95_ms <= 30", "latency_p95_ms", "<=", 30.0),
        ("latency_p95_ms<30.5", "latency_p95_ms", "<", 30.5),
        (" top1  >=  0.9 ", "top1", ">=", 0.9),
        ("top1 > .5", "top1", ">", 0.5),
        ("bundle_size_mb <= 1e3", "bundle_size_mb", "<=", 1000.0),
        ("top1 >= baseline", "top1", ">=", 0.8),
        ("top1 >= 0.99 * baseline", "top1", ">=", 0.792),
        ("top1 >= 0.99*baseline", "top1", ">=", 0.792),
        ("top1 >= baseline - 0.01", "top1", ">=", 0.79),
        ("top1 >= baseline -0.01", "top1", ">=", 0.79),
        ("top1 >= 0.5 * baseline + 0.1", "top1", ">=", 0.5),
        ("latency_mean_ms <= 0.5 * baseline", "latency_mean_ms", "<=", 10.0),
        ("macro_f1 >= 0.7", "macro_f1", ">=", 0.7),
        ("recall[defective] >= 0.95", "recall[defective]", ">=", 0.95),
        (" recall[not so good]>=baseline - 0.01", "recall[not so good]", ">=", 0.69),
        ("recall[a[0]] >= 0.9 * baseline", "recall[a[0]]", ">=", 0.54),
        ("recall[x <= 3] >= 0.5", "recall[x <= 3]", ">=", 0.5),
        ("recall[]] >= 0.5", "recall[]]", ">=", 0.5),
    ],
)
def test_forms(text: str, metric: str, sign: str, limit: float) -> None:
    found = Constraint.parse(text)
    assert (found.text, found.metric, found.operator) == (text, metric, sign)
    assert found.limit(BASELINE) == pytest.approx(limit)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "top1",
        "top1 >=",
        "top1 = 0.5",
        "top1 == 0.5",
        "0.5 <= top1",
        "top1 >= 0.9 * 3",
        "top1 >= baseline * 0.9",
        "top1 >= baseline 0.1",
        "top1 >= 0.5 extra",
        "top1 >= nan",
        "top1 >= -",
        "top1 >= 1 >= 0",
        "recall[a] >= recall[b]",
        "recall[a >= 0.5",
        "recall[a] b >= 0.5",
        "recall [a] >= 0.5",
    ],
)
def test_what_is_no_constraint(text: str) -> None:
    with pytest.raises(SpecificationError, match="is not a constraint; write 'METRIC <= NUMBER'"):
        Constraint.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed <= 3", "unknown metric 'speed'; choose one of top1, top5"),
        ("top11 >= 3", "unknown metric 'top11'; did you mean 'top1'?"),
        ("recall >= 0.9", "unknown metric 'recall'.* recall[CLASS]"),
        ("recall[] >= 0.9", "unknown metric 'recall[]'.* recall[CLASS]"),
        ("recal[a] >= 0.9", "unknown metric 'recal[a]'.* recall[CLASS]"),
        ("top1[a] >= 0.9", "unknown metric 'top1[a]'; did you mean 'top1'?"),
    ],
)
def test_a_metric_that_does_not_exist(text: str, message: str) -> None:
    begin, _, end = message.partition(".*")
    with pytest.raises(SpecificationError, match=re.escape(begin)) as raised:
        Constraint.parse(text)
    assert end in str(raised.value)


@pytest.mark.parametrize(
    ("sign", "answers"),
    [("<=", "yes yes no"), ("<", "yes no no"), (">=", "no yes yes"), (">", "no no yes")],
)
def test_below_at_and_above_the_limit(sign: str, answers: str) -> None:
    constraint = Constraint.parse(f"latency_mean_ms {sign} 10")
    found = [constraint.check({"latency_mean_ms": value}, {}) for value in (9.0, 10.0, 11.0)]
    assert found == answers.split()


def test_unknown_values_and_unknown_baselines() -> None:
    absolute, relative = Constraint.parse("top1 >= 0"), Constraint.parse("top1 >= 0.9 * baseline")
    assert absolute.check({}, BASELINE) == "unknown"
    assert absolute.check({"top1": 0.5}, {}) == "yes"
    assert relative.check({"top1": 0.9}, {}) == "unknown"
    assert relative.check({}, BASELINE) == "unknown"
    assert relative.limit({}) is None
    assert math.isinf(relative.shortfall({"top1": 0.9}, {}))
    assert math.isinf(absolute.shortfall({}, BASELINE))


def test_a_plan_is_feasible_only_where_all_is_known() -> None:
    fast, good = Constraint.parse("latency_mean_ms <= 10"), Constraint.parse("top1 >= 0.5")
    both = [fast, good]
    assert feasible([], {}, {}) == "yes"
    assert feasible(both, {"latency_mean_ms": 9, "top1": 0.6}, {}) == "yes"
    assert feasible(both, {"latency_mean_ms": 9}, {}) == "unknown"
    assert feasible(both, {"latency_mean_ms": 11}, {}) == "no"
    assert feasible(both, {"latency_mean_ms": 11, "top1": 0.6}, {}) == "no"


def test_shortfalls_are_relative_to_the_limit() -> None:
    fast, good = Constraint.parse("latency_mean_ms <= 10"), Constraint.parse("top1 >= baseline")
    assert fast.shortfall({"latency_mean_ms": 12.0}, {}) == pytest.approx(0.2)
    assert fast.shortfall({"latency_mean_ms": 10.0}, {}) == 0.0
    assert good.shortfall({"top1": 0.6}, BASELINE) == pytest.approx(0.25)
    assert good.shortfall({"top1": 0.9}, BASELINE) == 0.0


@examples(150)
@given(
    metric=st.sampled_from([*sorted(METRICS), "recall[a b]", "recall[>= 1 * baseline]"]),
    sign=st.sampled_from(["<=", "<", ">=", ">"]),
    factor=st.floats(0.001, 100),
    offset=st.floats(0, 100),
    value=st.floats(-1e6, 1e6),
    known=st.floats(-1e6, 1e6),
)
def test_no_shortfall_exactly_where_it_is_met(
    metric: str, sign: str, factor: float, offset: float, value: float, known: float
) -> None:
    constraint = Constraint.parse(f"{metric} {sign} {factor!r} * baseline + {offset!r}")
    values, baseline = {metric: value}, {metric: known}
    assert constraint.limit(baseline) == factor * known + offset
    met = constraint.check(values, baseline) == "yes"
    shortfall = constraint.shortfall(values, baseline)
    assert shortfall >= 0
    if met or value != factor * known + offset:
        assert met == (shortfall == 0)


@examples(200)
@given(
    st.text("top1 <=>.0e*+-bslinexX9\n", max_size=24)
    | st.text("recall[]a >=.0b\n", max_size=9).map("recall[{}] >= 0.5".format)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = Constraint.parse(text)
    except SpecificationError:
        return
    assert find_metric(found.metric).name == found.metric
    assert math.isfinite(found.factor)
    assert math.isfinite(found.offset)
