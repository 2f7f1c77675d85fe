"""Pictures of plans that stop early, over a store that is filled by hand."""

import pytest
from PIL import Image

from trimtab.db import (
    DeviceRecord,
    JobRecord,
    PlanMetricRecord,
    PlanRecord,
    Store,
    VerificationRecord,
)
from trimtab.planner.cli import main
from trimtab.planner.reports.plots.exits import exit_picture, write_exits
from trimtab_runtime.codec import encode
from trimtab_runtime.definitions.exits import (
    TAP_KINDS,
    Centres,
    Exits,
    ExitThresholds,
    Memory,
    Tap,
)
from trimtab_runtime.definitions.plan import PlanDefinition, RuntimeOptions, Stage, Structure
from trimtab_runtime.errors import PlanningError

_SPEC = {"objectives": {"top1": "max", "latency_mean_ms": "min"}, "constraints": []}
_NAMES = ("/features/features.3/conv/very/long/Add_output_0", "$x$ \u7532 \x1b[31m")
_ROWS = (
    ("input", "thumbnails", 0.5, 0.1),
    (_NAMES[0], "instances", 0.1, 1.0),
    (_NAMES[0], "heads", 0.1, 1.0),
    (_NAMES[1], "centres", 0.2, 2.0),
    ("end", "network", 0.1, 3.0),
)


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "trimtab.db") as store:
        store.put_device(DeviceRecord("dev", "local", {"cpu": "Tiny", "cores": "2"}))
        store.add_job(JobRecord("abc1", "<b>$job$", _SPEC, "0" * 64, device_key="dev"))
        yield store


def definition(early):
    exits, thresholds, memory = None, ExitThresholds(), Memory()
    if early:
        thresholds, memory = ExitThresholds(thumbnails=8.0, heads=0.9), Memory(8, 16, Centres())
        taps = tuple(Tap(name, "1" * 64, TAP_KINDS) for name in _NAMES)
        exits = Exits(taps, "2" * 64, "3" * 64)
    stage = Stage("0" * 64, RuntimeOptions("onnxruntime", threads=1), exits=exits)
    return encode(PlanDefinition(Structure("single", (stage,), memory=memory), exits=thresholds))


def add_plan(store, key="early", early=True, **changes):
    """A plan with rows where its inputs stop, at two taps."""
    rows = _ROWS if early else ()
    keys = ("where", "by", "share", "spent_ms")
    found = {
        "plan": definition(early),
        "stages": [
            {
                "name": "net 1t",
                "variant": {"name": "net", "size_bytes": 2**20, "sha256": "0" * 64}
                | {"input": {}, "output": {}},
                "reach": 1.0,
                "stage_ms": 3.0,
                "time_share": 1.0,
            }
        ],
        "exits": [dict(zip(keys, r, strict=True)) | {"right": 0.9, "full_right": 1} for r in rows],
        **changes,
    }
    plan = PlanRecord("abc1", key, "net 1t: $x^2$ [bold] heads", found, on_front=True)
    latency = PlanMetricRecord("abc1", key, "latency_mean_ms", "tune", "predicted", 2.0)
    store.replace_plans("abc1", [plan], [latency])
    return plan


def frames(count, **without):
    """Every kind in turn, each where it may answer; every seventh is wrong."""
    found = {
        "by": [(1, 2, 4, 3, 0)[n % 5] for n in range(count)],
        "tap": [(-1, 0, 0, 1, -1)[n % 5] for n in range(count)],
        "right": [int(n % 7 > 0) for n in range(count)],
        "block": [n // 30 for n in range(count)],
    }
    return {name: values for name, values in found.items() if name not in without}


def verify(store, key="early", **details):
    values = {"latency_mean_ms": 1.5}
    store.put_verification(
        VerificationRecord("abc1", key, "f" * 64, values, {}, details=details), replace=True
    )


@pytest.mark.parametrize("count", [1, 40, 1000])
@pytest.mark.parametrize("without", [{}, {"right": True, "block": True}])
def test_a_picture_is_written(store, tmp_path, count, without):
    plan = add_plan(store)
    verify(store, frames=frames(count, **without))
    target = write_exits(exit_picture(store, plan), tmp_path / "new" / "exits.png")
    assert target.stat().st_size < 120_000
    with Image.open(target) as image:
        assert 850 <= image.width <= 1000
        image.verify()


def test_every_frame_stands_at_its_place(store):
    plan = add_plan(store)
    verify(store, frames=frames(1000))
    picture = exit_picture(store, plan)
    assert picture.levels == (
        "input",
        _NAMES[0],
        "$x$ \u7532 \N{REPLACEMENT CHARACTER}[31m",
        "end",
    )
    assert picture.level[:5].tolist() == [0, 1, 1, 2, 3]
    assert picture.wrong[:8].tolist() == [1, 0, 0, 0, 0, 0, 0, 1]
    assert picture.borders.tolist() == list(range(30, 300, 30))


def test_borders_that_are_everywhere_are_left_out(store):
    plan = add_plan(store)
    verify(store, frames=frames(300) | {"block": [n % 4 for n in range(300)]})
    assert exit_picture(store, plan).borders is None


def test_a_plan_that_stops_nowhere_early_is_refused(store):
    plan = add_plan(store, early=False)
    verify(store)
    with pytest.raises(PlanningError, match="has no early exits"):
        exit_picture(store, plan)


def test_a_plan_without_a_time_line_is_refused(store):
    plan = add_plan(store)
    with pytest.raises(PlanningError, match=r"not verified.*raise `verify`"):
        exit_picture(store, plan)
    verify(store)
    with pytest.raises(PlanningError, match="by an older Trimtab that did not keep the answers"):
        exit_picture(store, plan)
    failed = VerificationRecord("abc1", "early", None, {}, {}, "failed", "it broke")
    store.put_verification(failed, replace=True)
    with pytest.raises(PlanningError, match="could not be verified: it broke"):
        exit_picture(store, plan)


def test_the_command_draws_or_says_why_not(store, tmp_path, capsys):
    add_plan(store)
    call = ["--store", str(tmp_path / "trimtab.db"), "show", "early", "--plot"]
    assert main([*call, str(tmp_path / "exits.png")]) == 1
    assert "was not verified" in capsys.readouterr().err
    verify(store, frames=frames(100))
    assert main([*call, str(tmp_path / "exits.html")]) == 2
    assert "must name a .png file" in capsys.readouterr().err
    assert main([*call, str(tmp_path / "exits.png")]) == 0
    assert (tmp_path / "exits.png").is_file()
