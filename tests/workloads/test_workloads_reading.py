"""Folders and tables that are right: what is read from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trimtab.workloads import IMAGE_SUFFIXES, checked_images, read_workload

WriteImage = Callable[..., Path]


def test_folder_per_class_gives_sorted_classes_and_nested_files(
    tmp_path: Path, write_image: WriteImage
) -> None:
    for name in ("dog/b.png", "dog/deep/a.JPG", "cat/x.bmp", "cat/z/y/x.WebP"):
        write_image(tmp_path / name)
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    (tmp_path / "dog" / ".hidden.png").write_bytes(b"no image")
    (tmp_path / ".cache").mkdir()

    workload = read_workload(tmp_path)

    names = ["cat/x.bmp", "cat/z/y/x.WebP", "dog/b.png", "dog/deep/a.JPG"]
    assert [item.name for item in workload.items] == names
    assert workload.classes == ("cat", "dog")
    assert workload.labels is not None
    assert workload.labels.dtype == np.int64
    assert workload.labels.tolist() == [0, 0, 1, 1]
    assert not workload.labels.flags.writeable
    assert all(item.path.is_absolute() and item.path.is_file() for item in workload.items)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_format_is_read_and_decoded(
    tmp_path: Path, write_image: WriteImage, suffix: str
) -> None:
    write_image(tmp_path / f"one{suffix.upper()}", size=(9, 7))
    workload = read_workload(tmp_path)
    assert workload.labels is None
    assert len(checked_images(workload)) == 1


def test_table_of_indices_keeps_the_indices_of_a_larger_class_list(
    tmp_path: Path, write_image: WriteImage
) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "in" / "b.png")
    (tmp_path / "labels.csv").write_text("file,label\nin/b.png,7\n./a.png,2\n")
    names = tmp_path / "names.txt"
    names.write_text("\n".join(["crane", "crane", *(f"class {i}" for i in range(2, 10))]) + "\n\n")

    workload = read_workload(tmp_path, classes=names)

    assert workload.labels is not None
    assert workload.labels.tolist() == [2, 7]
    assert len(workload.classes) == 10
    assert workload.summary()["class_counts"] == [0, 0, 1, 0, 0, 0, 0, 1, 0, 0]
    assert workload == read_workload(tmp_path, classes=names.read_text().split("\n")[:10])


def test_table_elsewhere_with_names_groups_and_a_spreadsheets_habits(
    tmp_path: Path, write_image: WriteImage
) -> None:
    photos = tmp_path / "photos"
    for name in ("ignored folder/a.png", "b, and.png"):
        write_image(photos / name)
    table = tmp_path / "my labels.csv"
    rows = ["Object No;label ; file", "7;weed;ignored folder/a.png", "8; crop;b, and.png", ""]
    table.write_text("\ufeff" + "\r\n".join(rows), encoding="utf-8")

    workload = read_workload(photos, labels=table, group="Object No")

    assert workload.classes == ("crop", "weed")
    found = [(item.name, item.label, item.group) for item in workload.items]
    assert found == [("b, and.png", 0, "8"), ("ignored folder/a.png", 1, "7")]
    assert workload.summary()["groups"] == 2


def test_indices_alone_number_the_classes(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("file,label\na.png,2\n")
    assert read_workload(tmp_path).classes == ("0", "1", "2")


def test_class_folders_take_their_place_in_a_given_list(
    tmp_path: Path, write_image: WriteImage
) -> None:
    write_image(tmp_path / "1" / "a.png")
    write_image(tmp_path / "10" / "a.png")
    write_image(tmp_path / "2" / "a.png")
    workload = read_workload(tmp_path, classes=[str(i) for i in range(12)])
    assert workload.labels is not None
    assert workload.labels.tolist() == [1, 10, 2]


def test_images_alone_have_no_labels(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "b.png")
    write_image(tmp_path / "a.png")
    (tmp_path / "papers").mkdir()
    workload = read_workload(tmp_path)
    assert [item.name for item in workload.items] == ["a.png", "b.png"]
    assert workload.labels is None
    assert workload.classes == ()
    summary = workload.summary()
    assert summary["labelled"] is False
    assert summary["size_bytes"] == sum(item.path.stat().st_size for item in workload.items)
    assert json.loads(json.dumps(summary)) == summary


def test_key_follows_the_content_and_not_the_place(
    tmp_path: Path, write_image: WriteImage
) -> None:
    first, moved = tmp_path / "first", tmp_path / "moved"
    write_image(first / "cat" / "a.png", seed=1)
    write_image(first / "dog" / "b.png", seed=2)
    shutil.copytree(first, moved)
    key = read_workload(first).key
    assert read_workload(moved).key == key

    (moved / "dog").rename(moved / "fox")
    assert read_workload(moved).key != key  # another class name
    (moved / "fox").rename(moved / "dog")
    write_image(moved / "dog" / "b.png", seed=3)
    assert read_workload(moved).key != key  # another picture


def test_summary_counts_files_with_the_same_content(
    tmp_path: Path, write_image: WriteImage
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / name, seed=5)
    assert read_workload(tmp_path).summary()["duplicates"] == 2


def test_linked_class_folders_are_followed(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "elsewhere" / "a.png", seed=1)
    write_image(tmp_path / "photos" / "cat" / "b.png", seed=2)
    (tmp_path / "photos" / "dog").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert read_workload(tmp_path / "photos").classes == ("cat", "dog")
