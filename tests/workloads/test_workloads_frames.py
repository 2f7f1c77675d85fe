from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trimtab.workloads import (
    Stream,
    StreamRecipe,
    Workload,
    frame_items,
    make_stream,
    read_workload,
    render,
    write_frames,
)
from trimtab_runtime.errors import WorkloadError


@pytest.fixture
def workload(tmp_path: Path, write_image: Callable[..., Path]) -> Workload:
    for i in range(6):
        write_image(tmp_path / "photos" / "ab"[i % 2] / f"{i}.png", seed=i)
    return read_workload(tmp_path / "photos")


def dwell(workload: Workload, **recipe: Any) -> Stream:
    recipe = {"kind": "dwelling", "mean_frames": 4, **recipe}
    return make_stream(workload, np.arange(len(workload)), StreamRecipe(**recipe), seed=2)


def test_stills_are_the_workload_own_items(workload: Workload, tmp_path: Path) -> None:
    stream = make_stream(workload, np.arange(6), StreamRecipe(kind="longtail"))
    items = frame_items(workload, stream, tmp_path / "frames")
    assert all(item is workload.items[i] for item, i in zip(items, stream.items, strict=True))
    write_frames(workload, stream, tmp_path / "frames")
    assert not (tmp_path / "frames").exists()


def test_moved_frames_are_named_without_rendering_and_written_without_loss(
    workload: Workload, tmp_path: Path
) -> None:
    folder = tmp_path / "store" / "frames"
    stream = dwell(workload)
    items = frame_items(workload, stream, folder)
    assert not folder.exists()
    assert len({item.sha256 for item in items}) == len(stream) == 24
    write_frames(workload, stream, folder)
    for t, frame in enumerate(items):
        source = workload.items[stream.items[t]]
        assert frame.name == f"{source.name}@{t}"
        assert (frame.label, frame.group) == (source.label, source.sha256)
        assert frame.sha256 in frame.path.name
        pixels = np.asarray(Image.open(source.path))
        right, down = stream.shifts[t].tolist()
        wanted = render(pixels, (right, down), stream.gains[t], 0.01, int(stream.noise_seeds[t]))
        assert (np.asarray(Image.open(frame.path)) == wanted).all()
    assert len(list(folder.iterdir())) == 24


def test_frames_that_exist_stay_and_only_the_missing_are_rendered(
    workload: Workload, tmp_path: Path
) -> None:
    stream = dwell(workload)
    items = frame_items(workload, stream, tmp_path)
    write_frames(workload, stream, tmp_path)
    lost = items[5].path
    first = lost.read_bytes()
    lost.unlink()
    items[6].path.write_bytes(b"kept")
    for i in {*range(6)} - {int(stream.items[5])}:
        workload.items[i].path.unlink()  # nothing of theirs is missing, so none is decoded
    write_frames(workload, stream, tmp_path)
    assert lost.read_bytes() == first
    assert items[6].path.read_bytes() == b"kept"


def test_frames_of_one_recipe_share_a_file(workload: Workload, tmp_path: Path) -> None:
    stream = dwell(workload, shift=1, gain=0, noise=0, frames=200)
    items = frame_items(workload, stream, tmp_path / "frames")
    moved = [item for t, item in enumerate(items) if not stream.is_still(t)]
    assert 0 < len(moved) < 200
    write_frames(workload, stream, tmp_path / "frames")
    files = {path.stem for path in (tmp_path / "frames").iterdir()}
    assert files == {item.sha256 for item in moved}
    assert len(files) <= 6 * 8
    assert len({item.name for item in moved}) == len(moved)


def test_a_frame_is_named_by_everything_that_changes_it(
    workload: Workload, tmp_path: Path
) -> None:
    names = [
        {item.sha256 for item in frame_items(workload, dwell(workload, **recipe), tmp_path)}
        for recipe in ({}, {"noise": 0.02}, {"gain": 0.03}, {"shift": 1})
    ]
    first_of_stays = names[0] & names[2]
    assert not names[0] & names[1]
    starts = len(set(dwell(workload).blocks.tolist()))
    assert len(first_of_stays) == starts < 24  # every stay starts with gain 1 and no shift
    assert starts <= len(names[0] & names[3]) < 24


def test_gray_and_turned_images(tmp_path: Path) -> None:
    gray = np.arange(48, dtype=np.uint8).reshape(6, 8)
    for name in ("a.png", "b.png"):
        Image.fromarray(gray).save(tmp_path / name)
        gray = gray[::-1]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(gray).save(tmp_path / "c.jpg", exif=exif)
    workload = read_workload(tmp_path)
    stream = dwell(workload)
    write_frames(workload, stream, tmp_path / "frames")
    for t, frame in enumerate(frame_items(workload, stream, tmp_path / "frames")):
        with Image.open(frame.path) as opened:
            assert opened.mode == "L"
            assert opened.size == ((6, 8) if stream.items[t] == 2 else (8, 6))


def test_what_cannot_be_rendered_or_written(workload: Workload, tmp_path: Path) -> None:
    stream = dwell(workload)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(WorkloadError, match="file: frames cannot be written there"):
        write_frames(workload, stream, tmp_path / "file")
    with pytest.raises(WorkloadError, match="do not belong together"):
        frame_items(Workload(workload.items[:2]), stream, tmp_path)
    broken = workload.items[stream.items[0]].path
    broken.write_bytes(b"no image")
    with pytest.raises(WorkloadError, match=f"{broken.name}: cannot be read as an image"):
        write_frames(workload, stream, tmp_path / "frames")
    assert not list((tmp_path / "frames").glob(".*"))


def test_a_full_disk_leaves_no_parts(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*paths: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(WorkloadError, match=r"cannot be written there \(No space left"):
        write_frames(workload, dwell(workload), tmp_path / "frames")
    assert not list((tmp_path / "frames").iterdir())
