"""Folders whose links double, that go down for ever, or hold what is no file."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from trimtab.workloads import read_workload
from trimtab.workloads.images.files import LOOPS, MOST_WAYS, NO_FILE, files_below, list_images
from trimtab_runtime.errors import WorkloadError


def test_links_that_double_are_entered_a_few_times(tmp_path: Path) -> None:
    for level in range(30):
        place = tmp_path / f"d{level}"
        place.mkdir()
        for name in "ab":
            (place / name).symlink_to(tmp_path / f"d{level + 1}")
    (tmp_path / "d30").mkdir()
    Image.new("L", (2, 2)).save(tmp_path / "d30" / "end.png")
    left_out: Counter[str] = Counter()
    found = list(files_below(tmp_path, left_out))
    assert set(found) >= {"d30/end.png"}
    assert len(found) <= MOST_WAYS + 1
    assert left_out[LOOPS] > 0


def test_a_thousand_folders_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(tmp_path)
    try:
        assert list(files_below(tmp_path, Counter())) == []
    finally:  # pytest itself would not come down so far
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_pipes_and_devices_are_left_out_and_counted(tmp_path: Path) -> None:
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to("/dev/zero")
    found = list_images(tmp_path)
    assert found.names == ("a.png",)
    assert found.left_out == {NO_FILE: 2}


def test_a_table_that_is_a_pipe(tmp_path: Path) -> None:
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(WorkloadError, match=r"labels\.csv: cannot be read \(it is no regular"):
        read_workload(tmp_path)
