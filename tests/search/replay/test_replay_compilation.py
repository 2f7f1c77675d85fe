"""Compiled code is kept for other processes, and never used where anything has changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CALLEE = "def double(x):\n    return {factor} * x\n"
CALLER = "from callee import double\n\ndef doubled(x):\n    return double(x) + 1\n"
RUN = """
import json
from callee import double
from caller import doubled
from trimtab.search.replay.compilation import Compiled
run = Compiled(doubled, [double])
print(json.dumps({"found": [run(20), run(0.5)], **told(run)}))
"""
REPLAY = """
import json
import numpy as np
from trimtab.search.replay.cascade import replay, run_frames
from trimtab.search.replay.stateful import TappedStage, replay_stateful
from trimtab_runtime.definitions.exits import ExitThresholds, Memory
said = np.eye(3, dtype=np.float32)
found = [replay([said, said], "mean", (0.5,)).answer.tolist()]
if TAPS:
    stages, exits = [TappedStage(said)], ExitThresholds(thumbnails=1.0)
    pictures = np.zeros((3, 192), np.float32)
    again = replay_stateful(stages, "last", (), Memory(thumbnails=2), exits, pictures)
    found.append(again.answer.tolist())
print(json.dumps({"found": found, **told(run_frames)}))
"""
TOLD = """
def told(run):
    hits, misses = (sum(c.values()) for c in (run.stats.cache_hits, run.stats.cache_misses))
    return {"hits": hits, "misses": misses, "path": run.stats.cache_path}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a function in one file that calls one in another."""
    (tmp_path / "caller.py").write_text(CALLER)
    (tmp_path / "callee.py").write_text(CALLEE.format(factor=2))
    return tmp_path


def started(home: Path, code: str, **places: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(home), *filter(None, sys.path)])
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": path,
        "HOME": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
        **places,
    }
    return subprocess.Popen(
        [sys.executable, "-c", TOLD + code], env=environment, text=True, stdout=subprocess.PIPE
    )


def told_by(process: subprocess.Popen[str]) -> dict[str, Any]:
    said, _ = process.communicate()
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(said)
    return found


def in_a_process(home: Path, code: str = RUN, **places: str) -> dict[str, Any]:
    return told_by(started(home, code, **places))


def folders(home: Path) -> list[Path]:
    return sorted((home / ".cache" / "trimtab" / "compiled").iterdir())


def test_another_process_compiles_nothing(home: Path) -> None:
    first, second = in_a_process(home), in_a_process(home)
    assert first["found"] == second["found"] == [41, 2.0]
    assert (first["hits"], first["misses"]) == (0, 2)
    assert (second["hits"], second["misses"]) == (2, 0)
    assert [Path(second["path"]).parent] == folders(home)


def test_a_callee_in_another_file_that_changes_is_compiled_anew(home: Path) -> None:
    in_a_process(home)
    (home / "callee.py").write_text(CALLEE.format(factor=3))
    found = in_a_process(home)
    assert found["found"] == [61, 2.5]
    assert (found["hits"], found["misses"]) == (0, 2)
    assert len(folders(home)) == 2
    (home / "callee.py").write_text(CALLEE.format(factor=2))
    assert in_a_process(home)["hits"] == 2, "the older code is still there"


def test_processes_that_start_together_compile_once(home: Path) -> None:
    found = [told_by(process) for process in [started(home, RUN) for _ in range(3)]]
    assert [one["found"] for one in found] == [[41, 2.0]] * 3
    assert sum(one["misses"] for one in found) == 2
    assert sum(one["hits"] for one in found) == 4


def test_the_cache_is_where_the_user_wants_it(home: Path) -> None:
    found = in_a_process(home, XDG_CACHE_HOME=str(home / "elsewhere"))
    assert found["path"].startswith(str(home / "elsewhere" / "trimtab" / "compiled"))
    assert not (home / ".cache").exists()


@pytest.mark.parametrize("place", ["a file", "relative", "others may write"])
def test_without_a_place_every_process_compiles_for_itself(home: Path, place: str) -> None:
    (home / "file").write_text("")
    places = {"a file": {"HOME": str(home / "file")}, "relative": {"XDG_CACHE_HOME": "here"}}
    if place == "others may write":
        in_a_process(home)
        folders(home)[0].chmod(0o777)
    found = in_a_process(home, **places.get(place, {}))
    assert found["found"] == [41, 2.0]
    assert (found["hits"], found["path"]) == (0, None)


def test_a_user_who_leads_numba_elsewhere_gets_no_stale_code(home: Path) -> None:
    found = in_a_process(home, NUMBA_CACHE_LOCATOR_CLASSES="InTreeCacheLocator")
    assert (found["found"], found["path"]) == ([41, 2.0], None)
    assert not list(home.rglob("*.nbi"))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_damaged_code_is_compiled_again(home: Path, suffix: str) -> None:
    in_a_process(home)
    for file in folders(home)[0].rglob("*" + suffix):
        file.write_bytes(file.read_bytes()[:9])
    found = in_a_process(home)
    assert (found["found"], found["path"]) == ([41, 2.0], None)
    assert in_a_process(home)["misses"] == 2
    assert in_a_process(home)["hits"] == 2


@pytest.mark.slow
def test_what_no_process_uses_is_removed_in_time(home: Path) -> None:
    in_a_process(home)
    (old,) = folders(home)
    recent = old.with_name("recent")
    recent.mkdir()
    month_ago = old.stat().st_mtime - 31 * 86400
    os.utime(old, (month_ago, month_ago))
    (home / "callee.py").write_text(CALLEE.format(factor=3))
    in_a_process(home)
    assert old not in folders(home)
    assert recent in folders(home)
    os.utime(folders(home)[0], (month_ago, month_ago))
    assert in_a_process(home)["hits"] == 2, "what is used is never old"


@pytest.mark.slow
def test_replays_are_compiled_once_a_machine(home: Path) -> None:
    for taps, kinds in ((False, 1), (True, 2)):
        code = f"TAPS = {taps}" + REPLAY
        first, second = in_a_process(home, code), in_a_process(home, code)
        assert first["found"] == second["found"]
        assert first["misses"] == 1, "plans without taps need no more than they use"
        assert (second["hits"], second["misses"]) == (kinds, 0)
