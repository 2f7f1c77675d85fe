"""A bundle started as a program and used as a library, where nothing of Trimtab is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.planner.bundles.archive import write_bundle
from trimtab_runtime import Plan
from trimtab_runtime.definitions.plan import OperatingPoint
from trimtab_runtime.errors import BundleError


@pytest.fixture
def away(tmp_path: Path, cascade: Path) -> Path:
    """The bundle, alone in a folder that is not ours."""
    folder = tmp_path / "device"
    folder.mkdir()
    shutil.copy(cascade, folder / "plan.pyz")
    return folder


def start(
    away: Path, *arguments: str, path: str = "", **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run Python in `away`: -S keeps the editable install of this checkout out, and the packages
    of the environment come back by their folder alone."""
    packages = sysconfig.get_paths()["purelib"]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([*path.split(), packages]),
        "TRIMTAB_CACHE": str(away / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-S", "-s", *arguments],
        cwd=away,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    # LiteRT announces its delegate there.
    own = [line for line in done.stderr.splitlines(True) if not line.startswith("INFO: ")]
    done.stderr = "".join(own)
    return done


def test_classify(away: Path, photos: Sequence[Path], cascade: Path) -> None:
    plan = Plan.load(str(cascade))
    images = [str(photo) for photo in photos[:6]]
    done = start(away, "plan.pyz", "classify", "--json", *images)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["image"] for line in lines] == images
    for line, image in zip(lines, images, strict=True):
        expected = plan.classify(image)
        assert (line["label"], line["index"]) == (expected.label, expected.index)
        assert (line["stage"], line["confidence"]) == (expected.stage, expected.confidence)
        assert [name for name, _ in line["top"]] == [name for name, _ in expected.top]


def test_classify_says_what_it_cannot_read_and_goes_on(away: Path, photos: Sequence[Path]) -> None:
    (away / "note.png").write_text("no image")
    done = start(away, "plan.pyz", "classify", "note.png", "none.png", str(photos[0]))
    assert done.returncode == 1
    assert [line.split(":")[1].strip() for line in done.stderr.splitlines()] == [
        "note.png",
        "none.png",
    ]
    assert done.stdout.startswith(f"{photos[0]}: ")
    assert "(stage " in done.stdout


def test_stream(away: Path, photos: Sequence[Path]) -> None:
    lines = [str(photos[1]), "", "none.png", str(photos[2])]
    done = start(away, "plan.pyz", "stream", "--latency-ms", "3", input="\n".join(lines))
    assert done.returncode == 1
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["image"] for line in found] == [lines[0], lines[2], lines[3]]
    assert [line.get("stage") for line in found] == [1, None, 1]
    assert "none.png" in found[1]["error"]


def test_bench(away: Path) -> None:
    done = start(away, "plan.pyz", "bench", "--repeat", "16")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["samples"] == 64
    assert found["latency_mean_ms"] > 0
    assert found["latency_p50_ms"] <= found["latency_p90_ms"]
    assert "latency_p95_ms" not in found, "130 samples are needed"
    assert sum(found["stage_share"]) == pytest.approx(1, abs=1e-3)


def test_info(away: Path) -> None:
    done = start(away, "plan.pyz", "info", "--latency-ms", "1.5")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert [stage["variant"] for stage in found["stages"]] == ["tiny", "bytes"]
    assert found["thresholds"] == [0.0]
    assert found["predicted"] == {"latency_mean_ms": 1.0, "top1": 0.5}
    assert found["requires"][:2] == ["numpy>=1.22", "pillow>=9.1"]
    assert found["planned_on"]["machine"] == "test"


def test_selftest(away: Path) -> None:
    done = start(away, "plan.pyz", "selftest")
    assert (done.returncode, done.stdout, done.stderr) == (0, "selftest passed\n", "")


@pytest.mark.parametrize("wrong", [(), ("dance",), ("classify",), ("bench", "--repeat", "0")])
def test_wrong_use(away: Path, wrong: Sequence[str]) -> None:
    done = start(away, "plan.pyz", *wrong)
    assert done.returncode == 2
    assert "usage: python " in done.stderr


def test_it_starts_as_a_command_of_its_own(away: Path) -> None:
    assert (away / "plan.pyz").read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert os.access(away / "plan.pyz", os.X_OK)


def test_a_damaged_bundle_is_refused(away: Path) -> None:
    content = (away / "plan.pyz").read_bytes()
    at = content.index(b"PK\x03\x04", content.index(b"models/") + 100) - 40
    (away / "plan.pyz").write_bytes(content[:at] + b"!" + content[at + 1 :])
    done = start(away, "plan.pyz", "info")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


LIBRARY = """
import sys
import trimtab_runtime
from trimtab_runtime import Plan

assert trimtab_runtime.__file__.startswith(sys.argv[1]), trimtab_runtime.__file__
try:
    import planner
except ImportError:
    pass
else:
    raise AssertionError("the checkout is on the path")
plan = Plan.load(sys.argv[1])
print(plan.classify(sys.argv[2]).label)
loaded = set(sys.modules)
print(plan.use(latency_ms=3).classify(sys.argv[2]).stage, plan.use(point=0).point.thresholds)
print(plan.selftest(), {name.split(".")[0] for name in set(sys.modules) - loaded})
"""


def test_as_a_library(away: Path, photos: Sequence[Path], cascade: Path) -> None:
    bundle = str(away / "plan.pyz")
    done = start(away, "-c", LIBRARY, bundle, str(photos[3]), path=bundle)
    assert done.returncode == 0, done.stderr
    label = Plan.load(str(cascade)).classify(str(photos[3])).label
    assert done.stdout.splitlines() == [label, "1 (0.0,)", "[] set()"]


def test_use_moves_along_the_points(cascade: Path, noise: Any) -> None:
    plan = Plan.load(str(cascade))
    assert plan.point.thresholds == (0.6,)
    chosen = {
        0.5: 1.0,  # none is that fast: the fastest
        1.0: 1.0,
        1.99: 1.0,
        2.0: 2.0,
        2.5: 2.0,
        100.0: 3.0,
    }
    for budget, expected in chosen.items():
        assert plan.use(latency_ms=budget).point.metrics["latency_mean_ms"] == expected
    stages = [
        {plan.use(point=number).classify(image).stage for image in noise[:20]}
        for number in range(3)
    ]
    assert stages == [{0}, {0, 1}, {1}]


def test_use_refuses_what_is_not_there(cascade: Path) -> None:
    plan = Plan.load(str(cascade))
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match=r"0 <= point < 3 must hold"):
            plan.use(point=wrong)
    with pytest.raises(ValueError, match="either point or latency_ms"):
        plan.use()
    with pytest.raises(ValueError, match="either point or latency_ms"):
        plan.use(point=1, latency_ms=2)
    assert plan.point.thresholds == (0.6,)


def test_without_predictions_there_is_no_budget(parts_of: Any, tmp_path: Path) -> None:
    points = [OperatingPoint((0.5,), {"top1": 0.5})]
    bundle = write_bundle(parts_of(["tiny", "small"], [0.5], points=points), tmp_path / "a.pyz")
    with pytest.raises(BundleError, match="carry no latency"):
        Plan.load(str(bundle)).use(latency_ms=5)


def test_the_selftest_holds_at_every_point(cascade: Path) -> None:
    plan = Plan.load(str(cascade))
    for number in range(3):
        assert plan.use(point=number).selftest() == []
        assert plan.point is plan.manifest.points[number]


def test_the_selftest_notices_another_model(
    parts_of: Any, zoo: Mapping[str, Any], tmp_path: Path
) -> None:
    """The golden answers of one plan, checked by the engines of another."""
    good = write_bundle(parts_of(["tiny", "bytes"], [0.6]), tmp_path / "good.pyz")
    plan, other = (
        Plan.load(str(good)),
        Plan.load(str(write_bundle(parts_of(["small", "bytes"], [0.6]), tmp_path / "other.pyz"))),
    )
    swapped = Plan(plan.manifest, other._stages, plan._folder)
    problems = swapped.selftest()
    assert any("small: outputs differ by" in problem for problem in problems)
    assert not any("bytes: outputs" in problem for problem in problems)


def test_equal_parts_are_equal_files(parts_of: Any, tmp_path: Path) -> None:
    first = write_bundle(parts_of(["tiny", "lite"], [0.5]), tmp_path / "a.pyz").read_bytes()
    again = write_bundle(parts_of(["tiny", "lite"], [0.5]), tmp_path / "b" / "c.pyz").read_bytes()
    other = write_bundle(parts_of(["tiny", "lite"], [0.25]), tmp_path / "d.pyz").read_bytes()
    assert first == again
    assert first != other


def test_an_answer_in_full(cascade: Path, noise: Any) -> None:
    plan = Plan.load(str(cascade))
    for image in noise:
        answer = plan.classify(image)
        assert answer.label == plan.labels[answer.index] == answer.top[0][0]
        assert answer.confidence == answer.top[0][1]
        assert len(answer.top) == 4
        values = [value for _, value in answer.top]
        assert values == sorted(values, reverse=True)
        assert answer.latency_ms > 0


def test_images_are_taken_in_every_form(cascade: Path, photos: Sequence[Path]) -> None:
    from PIL import Image

    plan = Plan.load(str(cascade))
    with Image.open(photos[0]) as opened:
        image = opened.convert("RGB")
    forms = [str(photos[0]), image, np.asarray(image)]
    answers = [plan.classify(form) for form in forms]
    assert len({(a.index, a.stage, a.confidence) for a in answers}) == 1
