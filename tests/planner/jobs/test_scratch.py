"""Temporary files of jobs: in one place, and gone with the process, however it ended."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from trimtab.planner.jobs.scratch import scratch
from trimtab_runtime.errors import StoreError

_HOLDER = """
import signal, sys, tempfile, time
from pathlib import Path
from trimtab.planner.jobs.scratch import scratch
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a shell's background
with scratch(Path(sys.argv[1])):
    Path(tempfile.mkdtemp(), "file").write_text("x")
    print(tempfile.gettempdir(), flush=True)
    time.sleep(60)
"""


def runs(artefacts):
    return sorted((artefacts / ".scratch").glob("run-*"))


@pytest.fixture
def dead(tmp_path):
    """A folder of artefacts with what a killed process left."""
    process = subprocess.Popen([sys.executable, "-c", _HOLDER, tmp_path], stdout=subprocess.PIPE)
    with process:
        process.stdout.readline()
        process.kill()
    assert len(runs(tmp_path)) == 1
    return tmp_path


def test_everything_temporary_lies_there_and_vanishes(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", "/before")
    monkeypatch.delenv("TMPDIR", raising=False)
    before = tempfile.gettempdir()
    with scratch(tmp_path):
        (folder,) = runs(tmp_path)
        assert Path(tempfile.mkdtemp()).parent == folder
        told = "import os, tempfile; print(tempfile.gettempdir(), os.environ['TRIMTAB_CACHE'])"
        child = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True)
        assert child.stdout.split() == [str(folder), str(folder / "bundles")]
    assert runs(tmp_path) == []
    assert tempfile.gettempdir() == before
    assert os.environ["TRIMTAB_CACHE"] == "/before"
    assert "TMPDIR" not in os.environ


def test_it_vanishes_with_an_error_too(tmp_path):
    with pytest.raises(KeyboardInterrupt), scratch(tmp_path):
        tempfile.mkdtemp()
        raise KeyboardInterrupt
    assert runs(tmp_path) == []


def test_what_a_killed_process_left_is_removed_by_the_next(dead):
    (left,) = runs(dead)
    with scratch(dead):
        assert not left.exists()
        assert len(runs(dead)) == 1
    assert runs(dead) == []


def test_what_a_living_process_holds_stays(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", _HOLDER, tmp_path], stdout=subprocess.PIPE)
    with process:
        process.stdout.readline()
        (held,) = runs(tmp_path)
        with scratch(tmp_path):
            assert len(runs(tmp_path)) == 2
        assert runs(tmp_path) == [held]
        assert len(list(held.glob("*/file"))) == 1
        process.send_signal(signal.SIGINT)
    assert runs(tmp_path) == []


def test_jobs_in_threads_share_a_folder(tmp_path):
    before = tempfile.gettempdir()
    entered, leave = threading.Event(), threading.Event()

    def first():
        with scratch(tmp_path):
            entered.set()
            leave.wait()

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait()
    with scratch(tmp_path):
        leave.set()
        thread.join()
        assert len(runs(tmp_path)) == 1
        tempfile.mkdtemp()
    assert runs(tmp_path) == []
    assert tempfile.gettempdir() == before


def test_half_written_artefacts_go_when_they_are_old(tmp_path):
    old, new = tmp_path / ".0123456789abcdef.part", tmp_path / ".fedcba9876543210.part"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (time.time() - 4000,) * 2)
    with scratch(tmp_path):
        assert not old.exists()
        assert new.exists()


def test_a_place_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    before = tempfile.gettempdir()
    refused = pytest.raises(StoreError, match="no temporary files can be kept in")
    with refused, scratch(tmp_path / "file"):
        pass
    assert tempfile.gettempdir() == before
