"""What a specification says of images, and what a job makes of it before it begins."""

import pytest
import yaml
from PIL import Image
from sample_models import INPUT, texture_images, write_onnx, write_photos

from trimtab.planner.jobs.dataset import load_dataset, told_of
from trimtab.planner.specification.job import load_spec
from trimtab_runtime.errors import SpecificationError, WorkloadError


@pytest.fixture
def folder(tmp_path):
    write_onnx(tmp_path / "net.onnx", width=2)
    return tmp_path


def spec_of(folder, workload=None, **parts):
    fields = {
        "name": "images",
        "models": [{"path": "net.onnx", "input": INPUT}],
        "workload": {"images": "photos", **(workload or {})},
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        **parts,
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(fields))
    return load_spec(folder / "job.yaml")


def test_one_number_and_false_stand_for_lists(folder):
    spec = spec_of(folder, runtime={"threads": 1}, techniques={"quantisation": False})
    assert spec.runtime.threads == (1,)
    assert spec.techniques.quantisation == ()
    assert spec_of(folder, techniques={"quantisation": True}).techniques.quantisation == ("w8a8",)
    assert spec_of(folder, techniques={"quantisation": "w8a8"}).techniques.quantisation == (
        "w8a8",
    )
    for wrong in (0, True, "two"):
        with pytest.raises(SpecificationError, match=r"runtime\.threads"):
            spec_of(folder, runtime={"threads": wrong})


def test_environment_variables_and_home_stand_in_paths(folder, monkeypatch):
    monkeypatch.setenv("PICTURES", str(folder / "media"))
    monkeypatch.setenv("HOME", str(folder / "home"))
    expected = (folder / "media" / "photos").resolve()
    for written in ("$PICTURES/photos", "${PICTURES}/photos"):
        assert spec_of(folder, {"images": written}).workload.images == expected
    assert spec_of(folder, {"images": "~/x"}).workload.images == (folder / "home/x").resolve()
    monkeypatch.delenv("PICTURES")
    with pytest.raises(
        SpecificationError, match=r"workload\.images: .*variable \$PICTURES is not"
    ):
        spec_of(folder, {"images": "$PICTURES/photos"})


def test_fields_that_are_not_used_leave_no_trace_in_a_jobs_name(folder):
    plain = spec_of(folder).model_dump(mode="json")
    assert set(plain["workload"]) == {"images", "labels", "classes", "splits", "stream"}
    assert set(plain["models"][0]["output"]) == {"kind", "offset"}
    said = spec_of(folder, {"unreadable": 0.1}).model_dump(mode="json")
    assert said["workload"]["unreadable"] == 0.1


def test_folders_of_splits_are_told(folder):
    for seed, name in enumerate(("train", "val", "test")):
        write_photos(folder / "photos" / name, 16, seed=seed)
    spec = spec_of(folder)
    workload, splits = load_dataset(spec)
    assert splits.sizes == {"fit": 16, "tune": 16, "test": 16}
    told = list(told_of(workload, spec))
    assert told == [
        ("info", "48 images in 4 classes: class0 12, class1 12, class2 12, class3 12"),
        (
            "warning",
            "the folders are splits, and no classes: fit 16 (train), tune 16 (val), test 16 "
            "(test)",
        ),
    ]


def test_a_split_without_a_folder_and_copies_across_splits_are_told(folder):
    write_photos(folder / "photos" / "train", 16, seed=1)
    shown = write_photos(folder / "photos" / "test", 16, seed=2)
    copy = folder / "photos" / "test" / "class0" / "seen.png"
    copy.write_bytes(
        (folder / "photos" / "train" / "class0").glob("*.png").__next__().read_bytes()
    )
    assert len(shown) == 16
    workload, splits = load_dataset(spec_of(folder))
    assert splits.sizes == {"fit": 16, "tune": 8, "test": 8}
    copies, told, twice = workload.notices
    assert "1 pair(s) of images look alike" in copies
    assert "tune 8 (of another folder), test 8 (test)" in told
    assert twice.endswith("are left out: test/class0/seen.png")


def test_an_order_that_is_assumed_is_told(folder):
    images, labels = texture_images(48, seed=3)
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / "photos" / f"batch_{8 + label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number}.png")
    spec = spec_of(folder)
    workload, _ = load_dataset(spec)
    (told,) = [text for level, text in told_of(workload, spec) if level == "warning"]
    assert "alphabetical order (batch_10, batch_11, batch_8, batch_9)" in told
    assert "natural order (batch_8, batch_9, batch_10, batch_11)" in told


def test_seen_and_damaged_images_are_left_out(folder):
    photos = write_photos(folder / "photos", 40, seed=4)
    (folder / "seen.txt").write_text("\n".join(p.name for p in photos[:6]))
    photos[10].write_bytes(b"no image")
    spec = spec_of(folder, {"exclude": "seen.txt", "unreadable": 0.05})
    workload, splits = load_dataset(spec)
    assert len(workload) == 33
    assert sum(splits.sizes.values()) == 33
    assert any("seen.txt: leaves out 6 of 40 image(s)" in text for text in workload.notices)
    assert any("1 of 34 image(s) cannot be read" in text for text in workload.notices)
    with pytest.raises(
        WorkloadError, match=r"1 of 40 image\(s\) cannot be read, and 0\.01 of them"
    ):
        load_dataset(spec_of(folder))
