"""Folders and tables that are wrong: the error says what, how often, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab.workloads import checked_images, read_workload
from trimtab_runtime.errors import WorkloadError

WriteImage = Callable[..., Path]

#: What stands in labels.csv beside a.png, b.png and c.png; further arguments; what is said.
BAD_TABLES = {
    "rows without file": (
        "file,label\na.png,0\nb.png,0\nc.png,0\nd.png,1\n../a.png,1\n",
        {},
        r"2 of 5 row\(s\) name a file .*: d.png, ../a.png; add the files",
    ),
    "images without row": (
        "file,label\nb.png,0\n",
        {},
        r"2 of 3 image\(s\) have no row: a.png, c.png; add rows",
    ),
    "duplicate rows": (
        "file,label\na.png,0\nb.png,0\nc.png,1\n./a.png,0\n",
        {},
        r"1 file\(s\) have more than one row: a.png",
    ),
    "missing column": ("name,label\na.png,0\n", {}, "no column file; its first line names name, "),
    "two columns for one": (
        "image,class,category_id\na.png,0,0\n",
        {},
        "any of the columns class, category_id may be the label",
    ),
    "nothing known": (
        "file,label\na.png,0\nb.png,NaN\n",
        {},
        "1 cell.s. are empty: label in line 3",
    ),
    "missing group": ("file,label\na.png,0\n", {"group": "object"}, "has no column object"),
    "column twice": ("file,label,label\na.png,0,1\n", {}, "more than one column label"),
    "nothing": ("", {}, "no column file and no column label; its first line names nothing"),
    "empty cell": (
        "file,label\na.png,0\nb.png,\nc.png\n",
        {},
        r"2 cell\(s\) are empty: label in line 3, label in line 4",
    ),
    "open quote": ('file,label\n"a.png,0\n', {}, "cannot be read as CSV"),
    "outside the list": (
        "file,label\na.png,0\nb.png,2\nc.png,-1\n",
        {"classes": ["x", "y"]},
        r"0 <= label < 2 .* 2 label\(s\) do not: -1, 2",
    ),
    "negative": ("file,label\na.png,0\nb.png,-1\nc.png,1\n", {}, "0 <= label < 2"),
    "huge": ("file,label\na.png,0\nb.png,20250101\nc.png,1\n", {}, "largest label is 20250101"),
    "unknown name": (
        "file,label\na.png,cat\nb.png,dgo\nc.png,dog\n",
        {"classes": ["cat", "dog"]},
        r"label 'dgo' is none of the 2 classes \(cat, dog\)",
    ),
    "name borne twice": (
        "file,label\na.png,crane\nb.png,dog\nc.png,dog\n",
        {"classes": ["crane", "dog", "crane"]},
        "'crane' is ambiguous: 2 classes bear that name",
    ),
    "index or name": (
        "file,label\na.png,1\nb.png,1\nc.png,0\n",
        {"classes": ["1", "2"]},
        r"label 0 is|label 1 is ambiguous: index 1 is class '2', but class 0 is named '1'",
    ),
    "indices and names": (
        "file,label\na.png,1\nb.png,dog\nc.png,0\n",
        {},
        r"mixes indices \(0, 1\) and names \(dog\)",
    ),
    "empty class list": ("file,label\na.png,0\n", {"classes": []}, "classes: names no class"),
    "hole in class list": (
        "file,label\na.png,0\n",
        {"classes": ["a", " ", "b"]},
        "line 2 is empty, but line i must name class i",
    ),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_wrong_table(tmp_path: Path, write_image: WriteImage, case: str) -> None:
    text, arguments, message = BAD_TABLES[case]
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / name)
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(WorkloadError, match=message):
        read_workload(tmp_path, **arguments)


#: Files to make; further arguments; what is said.
BAD_FOLDERS = {
    "no images": (
        ["notes.txt"],
        {},
        r"holds no images; expected files that end in \.avif \.bmp .*, found 1 \.txt",
    ),
    "empty class folder": (
        ["cat/a.png", "dog/b.png", "fox/notes.txt"],
        {},
        r"1 class folder\(s\) hold no images: fox; add images",
    ),
    "loose files": (
        ["cat/a.png", "dog/b.png", "c.png"],
        {},
        r"2 image\(s\) lie in folders and 1 beside them \(c.png\)",
    ),
    "one class": (["cat/a.png"], {}, "one class folder only .cat.*name the inner folder"),
    "unknown class": (
        ["cat/a.png", "dgo/b.png"],
        {"classes": ["cat", "dog"]},
        "folder 'dgo' is none of the 2 classes",
    ),
    "numbers": (["1/a.png", "2/a.png", "10/a.png"], {}, r"alphabetical order \(1, 10, 2\)"),
    "no table for groups": (["a/a.png", "b/b.png"], {"group": "object"}, "no labels.csv"),
    "table missing": (["a.png"], {"labels": Path("gone.csv")}, "gone.csv: cannot be read"),
    "classes missing": (["a.png"], {"classes": Path("gone.txt")}, "gone.txt: cannot be read"),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_wrong_folder(tmp_path: Path, write_image: WriteImage, case: str) -> None:
    files, arguments, message = BAD_FOLDERS[case]
    for name in files:
        if name.endswith(".txt"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("no image")
        else:
            write_image(tmp_path / name)
    with pytest.raises(WorkloadError, match=message):
        read_workload(tmp_path, **arguments)


def test_folder_missing_empty_or_a_file(tmp_path: Path, write_image: WriteImage) -> None:
    with pytest.raises(WorkloadError, match="does not exist"):
        read_workload(tmp_path / "gone")
    with pytest.raises(WorkloadError, match="holds no images"):
        read_workload(tmp_path)
    with pytest.raises(WorkloadError, match="is no folder"):
        read_workload(write_image(tmp_path / "a.png"))


def test_links_that_lead_nowhere_are_named(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "cat" / "a.png")
    (tmp_path / "cat" / "b.png").symlink_to(tmp_path / "gone.png")
    write_image(tmp_path / "dog" / "a.png", seed=1)
    workload = read_workload(tmp_path)
    assert len(workload) == 2
    with pytest.raises(WorkloadError, match=r"1 of 3 image\(s\) cannot .*b.png: leads nowhere"):
        checked_images(workload)
    with pytest.raises(WorkloadError, match=r"holds no images.* 1 link\(s\) lead nowhere"):
        (tmp_path / "cat" / "a.png").unlink()
        (tmp_path / "dog" / "a.png").unlink()
        read_workload(tmp_path)


def test_links_that_lead_round_and_round_end(tmp_path: Path, write_image: WriteImage) -> None:
    for name in ("cat", "dog"):
        write_image(tmp_path / name / "a.png")
        (tmp_path / name / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dog" / "self").symlink_to(tmp_path / "dog", target_is_directory=True)
    workload = read_workload(tmp_path)
    assert [item.name for item in workload.items] == ["cat/a.png", "dog/a.png"]
    assert workload.left_out == {"links in a circle": 3}


def test_table_that_is_no_text(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("file,label\nä.png,0\n", encoding="utf-16")
    with pytest.raises(WorkloadError, match="is not UTF-8 text"):
        read_workload(tmp_path)


def test_images_that_do_not_decode_are_counted_with_their_reasons(
    tmp_path: Path, write_image: WriteImage
) -> None:
    for index in range(6):
        write_image(tmp_path / f"{index}.png", seed=index)
    for index in (0, 2, 3, 5):
        (tmp_path / f"{index}.png").write_bytes(b"no image" * index)
    whole = (tmp_path / "4.png").read_bytes()
    (tmp_path / "4.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WorkloadError) as caught:
        checked_images(read_workload(tmp_path))
    message = str(caught.value)
    assert "5 of 6 image(s) cannot be read" in message
    assert "0.png: cannot be read as an image (cannot identify" in message
    assert message.endswith("and 2 more")
