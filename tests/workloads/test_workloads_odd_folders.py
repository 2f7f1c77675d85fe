"""Folders and tables as people have them: rubbish, splits, odd names, copies, damaged files."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from trimtab.workloads import checked_images, in_several_splits, read_workload, split_workload
from trimtab.workloads.images.classes import class_orders
from trimtab_runtime.errors import WorkloadError

WriteImage = Callable[..., Path]


@pytest.fixture
def photo() -> Image.Image:
    """A picture with large shapes, as photographs have."""
    return smooth(0)


def smooth(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((120, 90), Image.Resampling.BICUBIC)


def many(folder: Path, count: int, first: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        smooth(first + number).save(folder / f"{number:02}.png")


def test_what_systems_leave_behind_is_counted_and_no_class(
    tmp_path: Path, write_image: WriteImage
) -> None:
    write_image(tmp_path / "cap" / "a.png")
    write_image(tmp_path / "nut" / "b.jfif", seed=1)
    write_image(tmp_path / "nut" / "@eaDir" / "b.jfif" / "THUMB_M.jpg")
    write_image(tmp_path / "nut" / "thumbnails" / "b.png")
    write_image(tmp_path / "__MACOSX" / "cap" / "._a.png")
    for name in (".DS_Store", "nut/Thumbs.db", "cap/desktop.ini", "cap/list.pdf"):
        (tmp_path / name).write_bytes(b"x")
    for number in range(4):
        (tmp_path / "cap" / f"IMG_{number}.JXL").write_bytes(b"x")
    workload = read_workload(tmp_path)
    assert [item.name for item in workload.items] == ["cap/a.png", "nut/b.jfif"]
    assert workload.classes == ("cap", "nut")
    assert workload.left_out == {
        "hidden": 1,
        "of the system": 2,
        "in __MACOSX": 1,
        "in @eaDir": 1,
        "in thumbnails (thumbnails)": 1,
        ".pdf": 1,
        ".jxl": 4,
    }
    (told,) = workload.notices
    assert told.startswith(f"not read in {tmp_path}: 4 .jxl, 1 .pdf, ")


def test_a_folder_of_files_that_cannot_be_read_says_what_is_there(tmp_path: Path) -> None:
    for name in ("a", "b", "c.jxl", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(WorkloadError, match=r"holds no images.*1 \.jxl, 2 no suffix, 1 \.txt"):
        read_workload(tmp_path)


def test_heic_is_read_where_its_package_is(tmp_path: Path, photo: Image.Image) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(photo).save(tmp_path / "IMG_1.HEIC", quality=90)
    workload = checked_images(read_workload(tmp_path))
    assert [item.name for item in workload.items] == ["IMG_1.HEIC"]
    assert workload.left_out == {}


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train", "val", "test"), ("fit", "tune", "test")),
        (("Training", "valid", "Testing"), ("fit", "tune", "test")),
        (("fit", "tune", "test"), ("fit", "tune", "test")),
        (("train", "validation"), ("fit", "tune")),
        (("train2017", "val2017"), ("fit", "tune")),
        (("Training Set", "valset", "test_images"), ("fit", "tune", "test")),
    ],
)
def test_folders_called_like_splits_are_splits(
    tmp_path: Path, names: tuple[str, ...], splits: tuple[str, ...]
) -> None:
    for number, (name, count) in enumerate(zip(names, (6, 4, 5), strict=False)):
        for place, label in enumerate(("nut", "bolt")):
            many(tmp_path / name / label, count, 100 * number + 10 * place)
    workload = read_workload(tmp_path)
    assert workload.classes == ("bolt", "nut")
    assert {item.split for item in workload.items} == set(splits)
    for item in workload.items:
        assert item.label == (0 if "/bolt/" in item.name else 1)
        assert item.split == splits[names.index(item.name.partition("/")[0])]
    found = split_workload(workload, 0.25, 0.375, 0.375)
    lent = {"fit": 12, "tune": 4, "test": 4}
    assert found.sizes == (lent if len(names) == 2 else {"fit": 12, "tune": 8, "test": 10})
    for split in set(splits) - {"tune"}:
        assert {workload.items[i].split for i in getattr(found, split)} == {split}


def test_numbers_say_how_many_images_of_a_split_are_taken(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "val", "test")):
        for place, label in enumerate(("nut", "bolt")):
            many(tmp_path / name / label, 8, 100 * number + 10 * place)
    workload = read_workload(tmp_path)
    found = split_workload(workload, 4, 6, 1000, seed=3)
    assert found.sizes == {"fit": 4, "tune": 6, "test": 16}
    assert workload.labels is not None
    assert workload.labels[found.tune].sum() == 3  # every stretch has its share of every class


def test_images_of_an_earlier_split_are_left_out_of_a_later_one(tmp_path: Path) -> None:
    for number, name in enumerate(("train", "val", "test")):
        for place, label in enumerate(("nut", "bolt")):
            many(tmp_path / name / label, 6, 100 * number + 10 * place)
    smooth(0).save(tmp_path / "test" / "nut" / "copy.png")
    smooth(1).save(tmp_path / "val" / "nut" / "again.jpg", quality=85)
    workload = checked_images(read_workload(tmp_path))
    names = [workload.items[index].name for index in in_several_splits(workload)]
    assert names == ["test/nut/copy.png", "val/nut/again.jpg"]
    assert split_workload(workload, 0.2, 0.4, 0.4).sizes == {"fit": 12, "tune": 12, "test": 12}


def test_folders_of_splits_and_others_are_refused(tmp_path: Path, write_image: WriteImage) -> None:
    for name in ("train", "val", "extra"):
        for place in ("a", "b"):
            write_image(tmp_path / name / place / "x.png")
    with pytest.raises(WorkloadError, match="train, val are called like splits, but extra"):
        read_workload(tmp_path)
    named = read_workload(tmp_path, classes=["extra", "train", "val"])
    assert named.classes == ("extra", "train", "val")  # they may be classes: then they are named


def test_one_split_alone_is_no_class(tmp_path: Path, write_image: WriteImage) -> None:
    for place in ("a", "b"):
        write_image(tmp_path / "val" / place / "x.png")
    with pytest.raises(
        WorkloadError, match=r"one folder only \(val\), which is called like a split"
    ):
        read_workload(tmp_path)


def test_a_train_among_vehicles_is_a_class(tmp_path: Path, write_image: WriteImage) -> None:
    for name in ("bus", "car", "train"):
        write_image(tmp_path / name / "x.png")
    assert read_workload(tmp_path).classes == ("bus", "car", "train")


def test_splits_below_the_classes(tmp_path: Path, write_image: WriteImage) -> None:
    for number, name in enumerate(("nut/train", "nut/test", "bolt/train", "bolt/test")):
        write_image(tmp_path / name / "x.png", seed=number)
    workload = read_workload(tmp_path)
    assert workload.classes == ("bolt", "nut")
    assert [(item.name, item.split) for item in workload.items] == [
        ("bolt/test/x.png", "test"),
        ("bolt/train/x.png", "fit"),
        ("nut/test/x.png", "test"),
        ("nut/train/x.png", "fit"),
    ]


def test_two_levels_that_may_both_be_classes_are_told(
    tmp_path: Path, write_image: WriteImage
) -> None:
    for fold in ("fold1", "fold2"):
        for place in ("nut", "bolt"):
            write_image(tmp_path / fold / place / "x.png")
    (told,) = read_workload(tmp_path).notices
    assert told == (
        "each of the class folders (fold1, fold2) holds the same folders (bolt, nut): if those "
        "are the classes, move them up one level"
    )


def test_a_column_of_splits(tmp_path: Path, write_image: WriteImage) -> None:
    for name in "abcd":
        write_image(tmp_path / f"{name}.png", seed=ord(name))
    rows = "a.png,nut,train\nb.png,bolt,Train\nc.png,nut,val\nd.png,bolt,test\n"
    (tmp_path / "labels.csv").write_text(f"Filename,Class,Split\n{rows}")
    workload = read_workload(tmp_path)
    assert workload.classes == ("bolt", "nut")
    assert [item.split for item in workload.items] == ["fit", "fit", "tune", "test"]
    (tmp_path / "labels.csv").write_text(f"file,label,split\n{rows.replace('val', 'extra')}")
    with pytest.raises(WorkloadError, match=r"in some rows, and in others extra"):
        read_workload(tmp_path)
    shards = rows.replace("train", "A").replace("Train", "A").replace("val", "B")
    (tmp_path / "labels.csv").write_text(f"file,label,split\n{shards.replace('test', 'C')}")
    assert {item.split for item in read_workload(tmp_path).items} == {None}


def test_a_table_that_is_not_read_is_told(tmp_path: Path, write_image: WriteImage) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "annotations.csv").write_text("file,label\na.png,nut\n")
    told, _ = read_workload(tmp_path).notices
    assert told.startswith(
        "the images have no labels, and annotations.csv beside them is not read"
    )


def test_classes_that_hardly_differ_are_told(tmp_path: Path, write_image: WriteImage) -> None:
    for name in ("Good", "good", "bad_part", "bad part", "nut"):
        write_image(tmp_path / name / "x.png")
    (told,) = read_workload(tmp_path).notices
    assert "Good = good" in told and "bad part = bad_part" in told


def test_a_table_in_every_split(tmp_path: Path, write_image: WriteImage) -> None:
    for name in ("train", "test"):
        for number in range(2):
            write_image(tmp_path / name / f"{number}.png", seed=number)
        (tmp_path / name / "labels.csv").write_text("file,label\n0.png,b\n1.png,a\n")
    workload = read_workload(tmp_path)
    found = [(item.name, item.label, item.split) for item in workload.items]
    assert found == [
        ("test/0.png", 1, "test"),
        ("test/1.png", 0, "test"),
        ("train/0.png", 1, "fit"),
        ("train/1.png", 0, "fit"),
    ]


def test_an_assumed_order_is_told(tmp_path: Path, write_image: WriteImage) -> None:
    for number in range(1, 13):
        write_image(tmp_path / f"batch_{number}" / "x.png")
    workload = read_workload(tmp_path)
    assert workload.classes[:3] == ("batch_1", "batch_10", "batch_11")
    (told,) = workload.notices
    assert "alphabetical order (batch_1, batch_10, batch_11, batch_12 and 8 more)" in told
    assert "natural order (batch_1, batch_2, batch_3, batch_4 and 8 more)" in told
    named = read_workload(tmp_path, classes=[f"batch_{n}" for n in range(1, 13)])
    assert named.notices == ()


def test_class_orders() -> None:
    assert class_orders(["b10", "b2", "a", "c"]) == {
        "as listed": ("b10", "b2", "a", "c"),
        "alphabetical": ("a", "b10", "b2", "c"),
        "natural": ("a", "b2", "b10", "c"),
        "shifted": ("c", "b10", "b2", "a"),
    }
    assert list(class_orders(["a", "b", "c"])) == ["as listed", "shifted"]
    synsets = ["n02102040", "n01440764", "n02979186"]
    assert class_orders(synsets) == {
        "as listed": tuple(synsets),
        "alphabetical": ("n01440764", "n02102040", "n02979186"),
        "shifted": ("n02979186", "n02102040", "n01440764"),
    }


def test_whole_numbers_with_a_point_are_indices(tmp_path: Path, write_image: WriteImage) -> None:
    rows = []
    for number in range(12):
        write_image(tmp_path / f"{number:02}.png", seed=number)
        rows.append(f"{number:02}.png,{float(number)}")
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
    workload = read_workload(tmp_path)
    assert workload.labels is not None
    assert workload.labels.tolist() == list(range(12))
    assert not any("run from" in text for text in workload.notices)
    assert workload.classes == tuple(str(number) for number in range(12))
    named = read_workload(tmp_path, classes=[f"{number}.0" for number in reversed(range(12))])
    assert named.labels is not None
    assert named.labels.tolist() == list(reversed(range(12)))


def test_labels_that_may_count_from_one_are_told(tmp_path: Path, write_image: WriteImage) -> None:
    for number in range(1, 4):
        write_image(tmp_path / f"{number}.png", seed=number)
    rows = ["file,label", "1.png,1", "2.png,2", "3.png,3", "", ","]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    workload = read_workload(tmp_path)
    assert workload.classes == ("0", "1", "2", "3")
    assert any("labels run from 1 to 3" in text for text in workload.notices)
    named = read_workload(tmp_path, classes=["z", "a", "b", "c"])
    assert not any("run from" in text for text in named.notices)


def test_accents_in_either_encoding_are_the_same(tmp_path: Path, write_image: WriteImage) -> None:
    def apart(text: str) -> str:
        return unicodedata.normalize("NFD", text)

    write_image(tmp_path / "flat" / apart("é1.png"))
    write_image(tmp_path / "flat" / "plain.png", seed=1)
    (tmp_path / "flat" / "labels.csv").write_text(
        f"file,label\né1.png,{apart('crème')}\nplain.png,x"
    )
    found = read_workload(tmp_path / "flat", classes=["x", "crème"])
    assert [(item.name, item.label) for item in found.items] == [
        (apart("é1.png"), 1),
        ("plain.png", 0),
    ]
    for name in (apart("crème"), "x"):
        write_image(tmp_path / "folders" / name / "a.png", seed=len(name))
    folders = read_workload(tmp_path / "folders", classes=["x", "crème"])
    assert folders.labels is not None
    assert folders.labels.tolist() == [1, 0]


def test_tables_with_paths_as_other_programs_write_them(
    tmp_path: Path, write_image: WriteImage
) -> None:
    for number, name in enumerate(("a/1.png", "a/2.png", "a/3.png")):
        write_image(tmp_path / name, seed=number)
    rows = ["File, LABEL", ".\\a\\1.png,x", f"{tmp_path}/a/2.png,y", "./a/3.png,x"]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    workload = read_workload(tmp_path)
    assert workload.labels is not None
    assert workload.labels.tolist() == [0, 1, 0]


def test_images_seen_in_training_are_left_out(tmp_path: Path, write_image: WriteImage) -> None:
    for number, name in enumerate(("a/1.png", "a/2.png", "b/1.png", "b/2.png", "b/3.png")):
        write_image(tmp_path / "images" / name, seed=number)
    by_content = read_workload(tmp_path / "images").items[4].sha256
    seen = tmp_path / "seen.txt"
    seen.write_text(f"# training\na/1.png\n{tmp_path}/images/b/2.png\n{by_content}\nother.png\n")
    workload = read_workload(tmp_path / "images", exclude=seen)
    assert [item.name for item in workload.items] == ["a/2.png", "b/1.png"]
    assert "seen.txt: leaves out 3 of 5 image(s): a/1.png, b/2.png, b/3.png" in workload.notices[0]
    seen.write_text("1.png\n")  # a bare name is meant in every folder
    assert len(read_workload(tmp_path / "images", exclude=seen)) == 3
    seen.write_text("nowhere.png\n")
    unmatched = read_workload(tmp_path / "images", exclude=seen)
    assert "none of its 1 line(s) names an image here" in unmatched.notices[0]
    seen.write_text("1.png\n2.png\n3.png\n")
    with pytest.raises(WorkloadError, match="names every image"):
        read_workload(tmp_path / "images", exclude=seen)


def test_a_share_of_damaged_images_is_tolerated(tmp_path: Path) -> None:
    many(tmp_path / "a", 10)
    many(tmp_path / "b", 10, 10)
    whole = (tmp_path / "a" / "03.png").read_bytes()
    (tmp_path / "a" / "03.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b" / "x.png").symlink_to(tmp_path / "gone.png")
    read = read_workload(tmp_path)
    with pytest.raises(WorkloadError, match=r"2 of 21 image\(s\) cannot be read, and 0.05 of"):
        checked_images(read, unreadable=0.05)
    usable = checked_images(read, unreadable=0.1)
    assert len(usable) == 19
    assert "a/03.png" not in [item.name for item in usable.items]
    (told,) = usable.notices
    assert "2 of 21 image(s) cannot be read and are left out: " in told
    assert "x.png: leads nowhere" in told


def test_near_duplicates_stay_in_one_split(tmp_path: Path) -> None:
    many(tmp_path / "a", 12)
    many(tmp_path / "b", 12, 50)
    for number in range(4):
        original = Image.open(tmp_path / "a" / f"{number:02}.png")
        original.save(tmp_path / "a" / f"saved{number}.jpg", quality=80)
        original.resize((80, 60), Image.Resampling.BILINEAR).save(tmp_path / f"a/z{number}.png")
    read = read_workload(tmp_path)
    workload = checked_images(read)
    names = [item.name for item in workload.items]
    pairs = {(names[first], names[second]) for first, second in workload.alike}
    assert pairs == {
        pair
        for n in range(4)
        for pair in (
            (f"a/0{n}.png", f"a/saved{n}.jpg"),
            (f"a/0{n}.png", f"a/z{n}.png"),
            (f"a/saved{n}.jpg", f"a/z{n}.png"),
        )
    }
    assert checked_images(read, near_duplicates=False).alike == ()
    for seed in range(5):
        splits = split_workload(workload, 0.3, 0.3, 0.4, seed)
        place = {names[i]: s for s in ("fit", "tune", "test") for i in getattr(splits, s)}
        assert all(place[first] == place[second] for first, second in pairs)
    assert not any("different labels" in text for text in workload.notices)


def test_a_mirrored_copy_looks_alike(tmp_path: Path) -> None:
    many(tmp_path, 12)
    ImageOps.mirror(smooth(3)).save(tmp_path / "mirrored.jpg", quality=90)
    workload = checked_images(read_workload(tmp_path))
    names = [item.name for item in workload.items]
    assert [(names[a], names[b]) for a, b in workload.alike] == [("03.png", "mirrored.jpg")]


def test_named_groups_rule_over_what_looks_alike(tmp_path: Path) -> None:
    many(tmp_path, 12)
    smooth(0).save(tmp_path / "again.jpg", quality=80)
    names = [*(f"{number:02}.png" for number in range(12)), "again.jpg"]
    rows = [f"{name},x,{number // 2}" for number, name in enumerate(names)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,part", *rows]))
    workload = checked_images(read_workload(tmp_path, group="part"))
    assert len(workload.alike) == 1
    assert len(set(workload.objects.tolist())) == 7  # one a group
    (told,) = workload.notices
    assert "1 pair(s) of images look alike and may part, as groups were named" in told


def test_the_same_picture_under_two_labels_is_told(tmp_path: Path) -> None:
    many(tmp_path / "a", 8)
    many(tmp_path / "b", 8, 50)
    smooth(0).save(tmp_path / "b" / "copy.png")
    smooth(1).save(tmp_path / "b" / "again.jpg", quality=80)
    told = [n for n in checked_images(read_workload(tmp_path)).notices if "labels" in n]
    assert len(told) == 1
    assert "2 pair(s) of images look alike and have different labels" in told[0]
    assert "a/00.png = b/copy.png, a/01.png = b/again.jpg" in told[0]


def test_frames_of_a_fixed_camera_are_not_joined(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    scene = np.asarray(smooth(0)).astype(np.int16)
    for number in range(30):
        noise = np.random.default_rng(number).integers(-3, 4, scene.shape)
        frame = np.clip(scene + noise, 0, 255).astype(np.uint8)
        Image.fromarray(frame).save(tmp_path / "a" / f"{number:02}.png")
    many(tmp_path / "b", 10, 50)
    workload = checked_images(read_workload(tmp_path))
    assert workload.alike == ()
    (told,) = workload.notices
    assert "very many images look alike" in told
    assert split_workload(workload, 0.25, 0.25, 0.5).sizes == {"fit": 10, "tune": 10, "test": 20}
