"""Bundles that take turns, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from processes import PATIENCE_S, left_after

import trimtab_runtime
from trimtab.planner.bundles.archive import write_bundle
from trimtab.profilers import InProcessDevice, LocalDevice, SteadyDevice
from trimtab_runtime import Plan
from trimtab_runtime.codec import encode
from trimtab_runtime.errors import BundleError, DeviceError
from trimtab_runtime.plans.loop import ANSWERED_BY
from trimtab_runtime.probe.conditions import Conditions, Findings
from trimtab_runtime.probe.paired import paired
from trimtab_runtime.probe.requests import PairedRequest, TurnSettings
from trimtab_runtime.probe.rounds import Round, Rounds

RESIDENT = "trimtab_runtime.probe.resident"
QUICK = {"rounds": 4, "sittings": 2, "spread_seconds": 0.0, "visits": 2}


@pytest.fixture(scope="module")
def single(parts_of: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(parts_of(["small"]), tmp_path_factory.mktemp("single") / "plan.pyz")


def request_of(bundles: Sequence[Path], images: Sequence[Path], **said: Any) -> PairedRequest:
    paths = [tuple(map(str, found)) for found in (bundles, images)]
    told = {name: said.pop(name) for name in [*said] if hasattr(TurnSettings, name)}
    settings = TurnSettings(**{**QUICK, **told})
    return PairedRequest(*paths, **{"starts": (0, 12), "output": "", **said}, settings=settings)


def test_every_bundle_answers_every_image_and_orders_vary(
    single: Path, cascade: Path, photos: list[Path]
) -> None:
    steps: list[tuple[int, int]] = []
    found = LocalDevice().probe(
        request_of([single, cascade], photos[:20]),
        progress=lambda done, total: steps.append((done, total)),
    )
    arrays = found.arrays
    for number, bundle in enumerate((single, cascade)):
        plan = Plan.load(str(bundle))
        expected = [plan.classify(str(path)) for path in photos[:20]]
        of = arrays["bundle"] == number
        assert set(arrays["image"][of]) == set(range(20))
        for image, *told in zip(
            *(arrays[n][of] for n in ("image", "stage", "index")), strict=True
        ):
            assert told == [expected[image].stage, expected[image].index]
        assert (arrays["latency_ms"][of] > 0).all()
    assert sorted(set(arrays["round_block"])) == [0, 1, 2, 3]
    assert {0, 1} <= set(arrays["round_sitting"]), "disturbed blocks come again in another"
    first = arrays["round_sitting"][:2].tolist()
    assert first == [0, 0] and arrays["round_block"][:2].tolist() == [0, 1]
    assert all(sorted(order) == [0, 1] for order in arrays["round_order"].tolist())
    assert (np.diff(arrays["round_start_s"]) > 0).all()
    assert steps and {total for _, total in steps} == {4}


def test_a_stream_goes_on_from_block_to_block(
    early: Path, single: Path, frames: list[Path], tmp_path: Path
) -> None:
    """Memories are those of the stream before, in a process that is new and in blocks that are
    repeated; the second part begins with an empty one."""
    plan, expected = Plan.load(str(early)), []
    for number, path in enumerate(frames[:60]):
        if number in (0, 40):
            plan.memory.reset()
        expected.append(plan.classify(str(path)))
    request = request_of([single, early], frames[:60], starts=(0, 40))
    arrays = InProcessDevice().probe(request).arrays
    of = arrays["bundle"] == 1
    for image, *told in zip(
        *(arrays[name][of] for name in ("image", "stage", "tap", "by")), strict=True
    ):
        answer = expected[image]
        tap = -1 if answer.tap is None else answer.tap
        assert told == [answer.stage, tap, ANSWERED_BY.index(answer.by)]
    assert {int(by) for by in arrays["by"][of]} != {0}, "some frames leave early"


def test_a_block_that_is_asked_for_again_is_answered_the_same(
    early: Path, frames: list[Path]
) -> None:
    """By the resident process itself, over its pipes; it ends when nobody holds them."""
    told = {"bundle": str(early), "images": [str(f) for f in frames[:40]], "starts": [0]}
    blocks = [[[0, 10]], [[10, 20]], [[20, 40]], [[10, 20]], [[0, 10]]]
    with subprocess.Popen(
        [sys.executable, "-m", "trimtab_runtime.probe.resident"],
        env={**os.environ, "PYTHONPATH": str(early)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers = []
        for line in (told, *blocks):
            print(json.dumps(line), file=process.stdin, flush=True)
            answers.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 3
    ready, first, second, _, second_again, first_again = answers
    assert ready["image_ms"] > 0
    for name in ("index", "entry", "stage", "tap", "by"):
        assert first_again[name] == first[name]
        assert second_again[name] == second[name]


def test_hard_images_are_no_noise_and_a_slow_machine_is() -> None:
    """Blocks that more images of take the long way are slower, and undisturbed."""
    settings = TurnSettings(rounds=4, sittings=1)
    held = Rounds(PairedRequest(("a", "b", "c"), tuple("xyzw"), (0,), "", settings))
    for number in range(4):
        slow = 1.4 if number == 3 else 1.0
        stages = [0, 0, 1, 1] if number == 1 else [0, 0, 0, 1]
        told = {
            "latency_ms": [slow * (5.0 if stage else 1.0) for stage in stages],
            "stage": stages,
            **{name: [0] * 4 for name in ("entry", "tap", "by")},
        }
        alone = {**told, "latency_ms": [3.0 * ms for ms in told["latency_ms"]]}
        answers = {0: told, 1: told, 2: alone if number == 2 else told}
        held.found.append(Round(number, 0, 0.0, (0, 1, 2), (0, 1, 2, 3), answers, {}))
    assert held.paces() == pytest.approx([1.0, 1.0, 1.0, 1.4])
    assert held.disturbed().tolist() == [False, False, False, True]


@dataclass
class Started:
    """A bundle's process as far as planning is concerned."""

    image_ms: float
    remembers: bool = False


@pytest.mark.parametrize(
    ("start_s", "remembers", "sittings"),
    [(1.0, False, 8), (9.0, False, 5), (100.0, False, 3), (1.0, True, 3)],
)
def test_sittings_are_as_many_as_there_is_time_for(
    start_s: float, remembers: bool, sittings: int
) -> None:
    """45 of 180 seconds may go into starting; what remembers sees half a stream of 400 images of
    100 ms again in each."""
    held = Rounds(PairedRequest(("a",), tuple(map(str, range(400))), (0, 100), ""))
    held.plan([Started(100.0, remembers)], start_s)
    assert held.sittings == sittings
    blocks = [number for sitting in range(sittings) for number in held.planned(sitting)]
    assert blocks == list(range(16))
    assert held.planned(sittings) == []


class Throttled(Conditions):
    """The device throttles its cores in the rounds that are said, counted from 0."""

    def __init__(self, throttled: Callable[[int], bool]) -> None:
        super().__init__(brief=True)
        self._throttled, self._round = throttled, -1

    def finish(self, children_s: float = 0.0) -> Findings:
        self._round += 1
        return Findings({"throttled": float(self._throttled(self._round))}, [])


def turns_of(request: PairedRequest, tmp_path: Path, throttled: Callable[[int], bool]) -> Any:
    """What is told of turns, and their arrays."""
    request = replace(request, output=str(tmp_path / "told.npz"))
    told = paired(request, lambda done, total: None, Throttled(throttled))
    with np.load(tmp_path / "told.npz") as arrays:
        return told, dict(arrays)


def test_a_board_without_a_quiet_moment_ends_flagged(
    single: Path, cascade: Path, photos: list[Path], tmp_path: Path
) -> None:
    """Heat in every round: blocks are repeated up to `visits` times, in processes that are new."""
    request = request_of([single, cascade], photos[:8], starts=(0,))
    told, arrays = turns_of(request, tmp_path, lambda number: True)
    assert arrays["round_disturbed"].all()
    assert len(arrays["round_block"]) == 8, "four blocks, twice"
    assert len(set(arrays["round_sitting"])) == 4, "two of two blocks, and two more"
    (warning,) = told["warnings"]
    assert warning.startswith("8 of 8 rounds were disturbed")
    assert "throttled its cores because of heat" in warning


def test_what_was_disturbed_is_repeated_and_then_well(
    single: Path, photos: list[Path], tmp_path: Path
) -> None:
    """Whatever this machine does, round 0 was hot, and its block comes again."""
    request = request_of([single, single], photos[:8], starts=(0,), visits=4)
    _, arrays = turns_of(request, tmp_path, lambda number: number == 0)
    assert arrays["round_disturbed"][0] == 1
    assert np.count_nonzero(arrays["round_block"] == 0) > 1


def test_few_images_make_few_blocks(single: Path, cascade: Path, photos: list[Path]) -> None:
    request = request_of([single, cascade], photos[:3], starts=(0, 2), rounds=8, sittings=1)
    arrays = InProcessDevice().probe(request).arrays
    for number in (0, 1):
        assert set(arrays["image"][arrays["bundle"] == number]) == {0, 1, 2}


def test_a_bundle_that_cannot_run_is_named(
    single: Path, photos: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.pyz"
    broken.write_bytes(single.read_bytes()[:-2000])
    with pytest.raises(BundleError, match=r"broken\.pyz"):
        InProcessDevice().probe(request_of([single, broken], photos[:4], starts=(0,)))


def test_nobody_is_left_behind(single: Path, photos: list[Path], tmp_path: Path) -> None:
    """Where the one who asks goes wrong in the middle, the residents end too."""

    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    request = request_of([single, single], photos[:8], starts=(0,), output=str(tmp_path / "a"))
    with pytest.raises(KeyboardInterrupt):
        paired(request, interrupt)
    listed = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True)
    mine = [line for line in listed.stdout.splitlines() if line.split()[0] == str(os.getpid())]
    assert not [line for line in mine if "probe.resident" in line]


def test_a_bundle_that_is_stopped_ends_with_its_turns(single: Path, photos: list[Path]) -> None:
    held: list[psutil.Process] = []
    others = set(psutil.Process().children(recursive=True))  # as processes that wait for steps

    def stop(done: int, total: int) -> None:
        if not held:
            held.extend(set(psutil.Process().children(recursive=True)) - others)
            next(each for each in held if RESIDENT in each.cmdline()).suspend()

    request = request_of([single, single], photos[:8], starts=(0,))
    with pytest.raises(DeviceError, match="no sign of life for 5 s"):
        LocalDevice(stall_s=5).probe(request, progress=stop)
    assert left_after(held) == []


def test_a_stopped_bundle_ends_with_who_asked_for_turns(
    single: Path, photos: list[Path], tmp_path: Path
) -> None:
    """Where the probe's asker dies, nobody is there to end the group."""
    request = request_of([single, single], photos[:8], starts=(0,), spread_seconds=3600.0)
    asked = {"kind": "paired", **encode(request), "output": str(tmp_path / "arrays.npz")}
    (tmp_path / "request.json").write_text(json.dumps(asked))
    command = [sys.executable, "-m", "trimtab_runtime.probe", "request.json", "r.json", "watched"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(trimtab_runtime.__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
    ) as probe:
        assert probe.stdout is not None
        assert probe.stdin is not None
        probe.stdout.readline()
        residents = psutil.Process(probe.pid).children()
        residents[0].suspend()
        probe.stdin.close()
        assert len(residents) == 2
        assert left_after(residents) == []


def test_on_a_steady_device_a_bundle_takes_what_its_parts_take(
    single: Path, cascade: Path, photos: list[Path]
) -> None:
    device = SteadyDevice(InProcessDevice())
    found = device.probe(request_of([single, cascade], photos[:16]))
    arrays = found.arrays
    assert found.warnings == []
    assert (arrays["round_disturbed"] == 0).all()
    assert arrays["round_block"].tolist() == [0, 1, 2, 3]
    assert set(arrays["round"]) == {0, 1, 2, 3}
    own = arrays["latency_ms"][arrays["bundle"] == 0]
    assert len(own) == 16 and np.ptp(own) == 0
    stages = arrays["stage"][arrays["bundle"] == 1]
    times = arrays["latency_ms"][arrays["bundle"] == 1]
    assert len({(s, t) for s, t in zip(stages, times, strict=True)}) == len(set(stages))


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"bundles": ()}, "at least one bundle"),
        ({"starts": (1,)}, "starts must rise from 0"),
        ({"starts": (0, 3)}, "starts must rise from 0"),
    ],
)
def test_what_cannot_be_asked(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match="1 <= sittings <= rounds"):
        TurnSettings(rounds=2, sittings=3)
    fields = {"bundles": ("a",), "images": ("b", "c"), "starts": (0,), "output": "", **said}
    with pytest.raises(ValueError, match=problem):
        PairedRequest(**fields)
