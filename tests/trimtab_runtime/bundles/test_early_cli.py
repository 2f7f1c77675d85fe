"""The commands of a bundle that stops early: memory kept, saved, restored and inspected."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from trimtab_runtime import Plan
from trimtab_runtime.cli import main
from trimtab_runtime.memory.semantic import Recall


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[Any], str]:
    """Exit status, JSON lines, and what went to standard error."""
    status = main(arguments[0], list(arguments[1:]))
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    return status, [json.loads(line) for line in lines if line.startswith("{")], captured.err


def stream(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    lines: Sequence[Path],
    *arguments: str,
) -> tuple[int, list[Any], str]:
    given = b"".join(os.fsencode(f"{line}\n") for line in lines)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    return run(capsys, arguments[0], "stream", *arguments[1:])


def test_photographs_are_classified_each_for_itself(
    early: Path, frames: Sequence[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    twice = [str(frames[0])] * 2
    status, found, _ = run(capsys, str(early), "classify", "--json", *twice)
    assert status == 0
    one, other = ({k: v for k, v in line.items() if k != "latency_ms"} for line in found)
    assert one == other
    assert one["by"] != "thumbnails"
    assert set(one) >= {"by", "tap", "stage"}


def test_with_a_memory_they_are_a_stream(
    early: Path, frames: Sequence[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "memory.npz")
    images = [str(frames[0])] * 2
    _, found, _ = run(capsys, str(early), "classify", "--json", "--memory", file, *images)
    assert [line["by"] == "thumbnails" for line in found] == [False, True]
    _, found, _ = run(capsys, str(early), "classify", "--json", "--memory", file, images[0])
    assert found[0]["by"] == "thumbnails"
    assert main(str(early), ["classify", "--memory", file, images[0]]) == 0
    assert "(thumbnails, " in capsys.readouterr().out


def test_a_stream_goes_on_where_it_ended(
    early: Path,
    frames: Sequence[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = str(tmp_path / "memory.npz")
    plan = Plan.load(str(early))
    expected = [plan.classify(str(frame)).by for frame in frames[:60]]
    got = []
    for part in (frames[:25], frames[25:60]):
        status, found, error = stream(capsys, monkeypatch, part, str(early), "--memory", file)
        assert (status, error) == (0, "")
        got += [line["by"] for line in found]
    assert got == expected
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["memory.npz"]
    main(str(early), ["memory", file])
    summary = json.loads(capsys.readouterr().out)
    assert plan.memory is not None
    assert summary["frames"] == 60
    assert summary["hot_classes"] == plan.memory.summary()["hot_classes"]


def test_an_image_that_cannot_be_read_is_not_learned(
    early: Path,
    frames: Sequence[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = str(tmp_path / "memory.npz")
    lines = [frames[0], Path("none.png"), frames[1]]
    status, found, error = stream(capsys, monkeypatch, lines, str(early), "--memory", file)
    assert (status, error) == (1, "")
    assert [line["image"] for line in found] == list(map(str, lines))
    assert "none.png: cannot be read as an image" in found[1]["error"]
    main(str(early), ["memory", file])
    assert json.loads(capsys.readouterr().out)["frames"] == 2


def test_the_memory_of_another_plan_is_refused(
    early: Path, frames: Sequence[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "memory.npz"
    file.write_bytes(b"something else")
    for command in (["classify", "--memory", str(file), str(frames[0])], ["memory", str(file)]):
        status, found, error = run(capsys, str(early), *command)
        assert (status, found) == (1, [])
        assert error == f"error: {file}: no saved memory (" + error.split("(", 1)[1]
    assert file.read_bytes() == b"something else"


def test_a_memory_that_cannot_be_saved(
    early: Path, frames: Sequence[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "none" / "memory.npz")
    status, _, error = run(capsys, str(early), "classify", "--memory", file, str(frames[0]))
    assert status == 1
    assert "No such file or directory" in error


def test_a_plan_without_a_memory(
    cascade: Path, frames: Sequence[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "memory.npz")
    for command in (["classify", "--memory", file, str(frames[0])], ["memory", file]):
        status, _, error = run(capsys, str(cascade), *command)
        assert status == 2
        assert "this plan has no memory" in error


def test_bench_tells_who_answered(early: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, (found,), _ = run(capsys, str(early), "bench", "--repeat", "3")
    assert status == 0
    assert sum(found["by_share"].values()) == pytest.approx(1, abs=1e-3)
    plan = Plan.load(str(early))
    once = [plan.classify(image).by for image in plan.golden_images()]
    expected = {by: once.count(by) / len(once) for by in once}
    assert found["by_share"] == expected, "every pass starts from an empty memory"
    assert found["without_memory_mean_ms"] > 0


def test_state_is_saved_from_time_to_time(
    early: Path,
    frames: Sequence[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A loss of power leaves what was saved last: here, after each image."""
    saved, save = [], Recall.save

    def counted(memory: Recall, path: str) -> None:
        save(memory, path)
        saved.append(memory.summary()["frames"])

    monkeypatch.setattr(Recall, "save", counted)
    options = ["--memory", str(tmp_path / "memory.npz"), "--save-every", "0"]
    assert stream(capsys, monkeypatch, list(frames[:3]), str(early), *options)[0] == 0
    assert saved == [1, 2, 3, 3]


def test_a_line_that_is_no_path_is_answered_too(
    early: Path,
    frames: Sequence[Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = [Path("x" * 100_000), Path(os.fsdecode(b"\xff\xfe.png")), frames[0]]
    status, found, error = stream(capsys, monkeypatch, lines, str(early))
    assert (status, error) == (1, "")
    assert "a line of more than 65536 bytes" in found[0]["error"]
    assert ["error" in line for line in found] == [True, True, False]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_the_memory(
    early: Path, frames: Sequence[Path], tmp_path: Path, number: signal.Signals
) -> None:
    file = tmp_path / "memory.npz"
    program = subprocess.Popen(
        [sys.executable, str(early), "stream", "--memory", str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TRIMTAB_CACHE": str(tmp_path / "cache")},
        # Tests that a script runs in the background inherit an ignored one, which is heeded.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    assert program.stdin is not None
    assert program.stdout is not None
    with program:
        for frame in frames[:3]:
            program.stdin.write(f"{frame}\n")
            program.stdin.flush()
            assert json.loads(program.stdout.readline())["image"] == str(frame)
        program.send_signal(number)
        assert program.wait() == 128 + number
        assert program.stderr is not None
        assert "Traceback" not in program.stderr.read()
    plan = Plan.load(str(early))
    assert plan.memory is not None
    plan.memory.restore(str(file))
    assert plan.memory.summary()["frames"] == 3
