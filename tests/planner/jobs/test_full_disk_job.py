"""A job whose disk fills up ends with a clear error; with room again, it goes on from there."""

import multiprocessing
import os
import subprocess
import sys

import pytest
from sample_models import INPUT, write_onnx, write_photos

import trimtab
from trimtab.planner.jobs.journal import NullListener
from trimtab_runtime.errors import StoreError
from trimtab_runtime.probe.requests import MeasureSettings

pytestmark = pytest.mark.slow

QUICK = MeasureSettings(seconds=0.1, max_seconds=5, min_rounds=8, warmup_seconds=0.02)


@pytest.fixture
def disk(tmp_path):
    """A file system of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if sys.platform != "linux" or os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class Filler(NullListener):
    """Fills the disk when the first candidate has been measured."""

    def __init__(self, store, folder):
        self._store, self._file = store, folder / "filler"

    def step(self, name, detail, done, total):
        if name == "measure" and not self._file.exists() and self._store.list_measurements():
            with self._file.open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    pass


def _fill_up(spec, disk):
    """In a process of its own: on a full disk its lease can only end with it."""
    with (
        trimtab.Store.open(disk / "trimtab.db") as store,
        pytest.raises(StoreError, match="the disk is full; free some space"),
    ):
        trimtab.plan(spec, store, Filler(store, disk), QUICK, setup="ignored")


def test_a_full_disk_stops_the_job_and_loses_nothing(disk, tmp_path):
    write_photos(tmp_path / "photos", 40)
    names = ["small.onnx", "large.onnx"]
    for name, width in zip(names, (2, 16), strict=True):
        write_onnx(tmp_path / name, width=width)
    spec = {
        "name": "full",
        "models": [{"path": str(tmp_path / name), "input": INPUT} for name in names],
        "workload": {"images": str(tmp_path / "photos")},
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 2},
        "together": 2,
        "verify": 0,
    }
    process = multiprocessing.get_context("spawn").Process(target=_fill_up, args=(spec, disk))
    process.start()
    process.join()
    assert process.exitcode == 0
    with trimtab.Store.open(disk / "trimtab.db", read_only=True) as store:
        kept = store.list_measurements(state="ok")
        assert kept
    (disk / "filler").unlink()
    with trimtab.Store.open(disk / "trimtab.db") as store:
        record = trimtab.plan(spec, store, settings=QUICK, setup="ignored")
        assert record.state == "done"
        assert [m for m in store.list_measurements(state="ok") if m in kept] == kept
        assert record.summary["candidates"] == 2
