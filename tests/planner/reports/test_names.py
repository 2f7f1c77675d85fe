"""What plans are called for people."""

import pytest

from trimtab.db import PlanRecord
from trimtab.planner.reports.names import SCHEME_WORDS, plan_name, share, stage_name, variant_name
from trimtab.variants import SCHEMES


def plan(*stages, rule="last", **structure):
    """A plan of stages (variant, share of inputs, options and more)."""
    told = [{"variant": {"name": name}, "reach": reach} for name, reach, _ in stages]
    own = [{"variant": "0" * 64, "options": {"engine": "onnxruntime"}, **m} for *_, m in stages]
    definition = {"plan": {"structure": {"stages": own, "rule": rule, **structure}}}
    return PlanRecord("job", "key", "short", {**definition, "stages": told})


def options(**said):
    return {"options": {"engine": "onnxruntime", **said}}


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (plan(("lite0 w8a8", 1.0, options(threads=2))), "Lite0 int8 (2 threads)"),
        (
            plan(
                (
                    "lite0 w8a8",
                    1.0,
                    options(threads=2, spinning=True, graph_optimisation="extended"),
                )
            ),
            "Lite0 int8 (2 threads, busy-wait, extended graph optimisation)",
        ),
        (
            plan(("lite0", 1.0, {}), ("lite1", 0.124, {})),
            "Lite0, 12 % go on to Lite1 when unsure (1 thread)",
        ),
        (
            plan(("lite0", 1.0, {}), ("Lite1 w8", 0.002, options(threads=2)), rule="mean"),
            "Lite0 (1 thread), 0.2 % go on to Lite1 int8 weights (2 threads) "
            "when unsure on average",
        ),
        (
            plan(("a", 1.0, {"scorer": {"model": "0" * 64}}), ("b", 0.5, {})),
            "A, 50 % go on to B when a learned score is low (1 thread)",
        ),
        (
            plan(("a", 0.9, {}), ("b", 0.1, {}), router={"model": "0" * 64}),
            "router: 90 % run A, 10 % run B (1 thread)",
        ),
        (
            plan(
                ("net", 1.0, {"exits": {"taps": [{"kinds": ["heads", "centres"]}, {}]}}),
                memory={"thumbnails": 8},
            ),
            "Net (1 thread), with recent frames and class centroids and exit heads "
            "at 2 exit points",
        ),
        (PlanRecord("job", "key", "of \x1b an old store", {}), "of ^[ an old store"),
    ],
)
def test_a_plan_in_words(made, name):
    assert plan_name(made).replace("\N{REPLACEMENT CHARACTER}", "^[") == name


def test_variants_and_shares_in_words():
    assert variant_name("net slim2 w8a8-mixed") == "Net slimmed 2 int8 mixed"
    assert variant_name("net 192px w8a8") == "Net at 192 px int8"
    assert variant_name("net slim1 96x128px") == "Net slimmed 1 at 96x128 px"
    assert variant_name("w8a8") == "W8a8", "a model that is called so"
    assert variant_name("MobileNet v2") == "MobileNet v2"
    assert stage_name("net", {"provider": "builtin"}) == "Net (1 thread, builtin)"
    assert [share(v) for v in (0.0, 0.0001, 0.002, 0.0096, 0.124, 1.0)] == [
        "0 %", "under 0.1 %", "0.2 %", "1 %", "12 %", "100 %"
    ]  # fmt: skip


def test_every_scheme_has_a_word():
    assert set(SCHEME_WORDS) == set(SCHEMES)
