"""`trimtab init`: a specification from what lies in a folder."""

import csv

import pytest
import yaml
from PIL import Image
from sample_models import texture_images, write_onnx
from sample_tflite import write_tflite

from trimtab.planner.cli import main
from trimtab.planner.specification.job import load_spec
from trimtab.planner.specification.scaffold import write_starter
from trimtab_runtime.errors import SpecificationError, WorkloadError


def write_images(folder, classes=("a", "b", "c", "d"), count=24):
    images, labels = texture_images(count, seed=3)
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / classes[label] if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number}.png")


def test_a_folder_of_models_and_class_folders(tmp_path):
    (tmp_path / "models").mkdir()
    write_onnx(tmp_path / "models" / "one.onnx", width=4)
    write_tflite(tmp_path / "models" / "two.tflite", width=4)
    write_images(tmp_path / "photos")
    starter = write_starter(tmp_path, tmp_path / "job.yaml")
    spec = load_spec(tmp_path / "job.yaml")
    assert [model.label for model in spec.models] == ["one", "two"]
    assert spec.workload.images == (tmp_path / "photos").resolve()
    assert spec.reference is None
    assert "top1" in spec.objectives
    assert spec.models[0].input.mean == 127.5
    assert starter.guesses == starter.text.count("GUESS:") == 6
    assert starter.summary == "2 model(s), 24 images in 4 classes"
    assert "input 32x32, 3 channel(s), float32, nchw" in starter.text
    assert "images: photos\n" in starter.text


def test_a_background_class_is_proposed(tmp_path):
    write_onnx(tmp_path / "four.onnx", width=4)
    images = tmp_path / "images"
    write_images(images, classes=("x", "y", "z", "z"))
    starter = write_starter(tmp_path, tmp_path / "job.yaml")
    assert load_spec(tmp_path / "job.yaml").models[0].output.offset == 1
    assert "so the first is taken as background" in starter.text


def test_outputs_that_fit_no_class_are_pointed_out(tmp_path):
    write_onnx(tmp_path / "four.onnx", width=4)
    write_images(tmp_path / "images", classes=("x", "y", "x", "y"))
    starter = write_starter(tmp_path, tmp_path / "job.yaml")
    assert "CHECK: 4 outputs, but the images have 2 classes" in starter.text


def test_a_class_file_completes_what_the_folders_leave_out(tmp_path):
    write_onnx(tmp_path / "four.onnx", width=4)
    write_images(tmp_path / "images", classes=("x", "y", "x", "y"))
    (tmp_path / "classes.txt").write_text("w\nx\ny\nz\n")
    write_starter(tmp_path, tmp_path / "job.yaml")
    spec = load_spec(tmp_path / "job.yaml")
    assert spec.workload.classes == (tmp_path / "classes.txt").resolve()
    assert spec.models[0].output.offset == 0


def test_a_table_of_labels_rules(tmp_path):
    write_onnx(tmp_path / "four.onnx", width=4)
    photos = tmp_path / "photos"
    write_images(photos, classes=None)
    with (photos / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label"])
        writer.writerows([f"{number}.png", number % 4] for number in range(24))
    starter = write_starter(tmp_path, tmp_path / "job.yaml")
    assert "labels from labels.csv" in starter.text
    assert load_spec(tmp_path / "job.yaml").workload.images == photos.resolve()


def test_without_labels_the_largest_model_is_the_reference(tmp_path):
    write_onnx(tmp_path / "small.onnx", width=2)
    write_onnx(tmp_path / "large.onnx", width=16)
    write_images(tmp_path / "photos", classes=None)
    write_starter(tmp_path, tmp_path / "job.yaml")
    spec = load_spec(tmp_path / "job.yaml")
    assert spec.reference_name == "large"
    assert next(iter(spec.objectives)) == "agreement"


def test_an_open_size_and_equal_names_are_filled_in(tmp_path):
    for place in ("a", "b"):
        (tmp_path / "zoo" / place).mkdir(parents=True)
    write_onnx(tmp_path / "zoo" / "a" / "net.onnx", width=2, size="side")
    write_tflite(tmp_path / "zoo" / "b" / "net.tflite", width=2)
    write_onnx(tmp_path / "zoo" / "b" / "net.onnx", width=4)
    write_images(tmp_path / "photos")
    starter = write_starter(tmp_path, tmp_path / "job.yaml")
    spec = load_spec(tmp_path / "job.yaml")
    assert sorted(m.label for m in spec.models) == ["net-onnx", "net-onnx-2", "net-tflite"]
    assert spec.models[0].input.size == 224
    assert "(dynamic in the file)" in starter.text


def test_a_quantised_input_needs_no_guess_of_its_scale(tmp_path):
    write_tflite(tmp_path / "net.tflite", width=4, quantised=True)
    write_images(tmp_path / "photos")
    write_starter(tmp_path, tmp_path / "job.yaml")
    assert load_spec(tmp_path / "job.yaml").models[0].input.mean is None


def test_a_damaged_model_is_left_out_with_its_reason(tmp_path):
    write_onnx(tmp_path / "good.onnx", width=2)
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    write_images(tmp_path / "photos")
    starter = write_starter(tmp_path, tmp_path / "job.yaml")
    assert len(starter.problems) == 1
    assert "# Left out: bad.onnx: " in starter.text
    assert len(load_spec(tmp_path / "job.yaml").models) == 1


def test_names_that_yaml_would_misread_are_quoted(tmp_path):
    zoo = tmp_path / "no: {zoo} # 1"
    zoo.mkdir()
    write_onnx(zoo / "a, b & 'c'.onnx", width=2)
    write_images(zoo / "true")
    write_starter(zoo, tmp_path / "job.yaml")
    spec = load_spec(tmp_path / "job.yaml")
    assert spec.name == "no: {zoo} # 1"
    assert spec.models[0].path == (zoo / "a, b & 'c'.onnx").resolve()
    assert spec.workload.images == (zoo / "true").resolve()


@pytest.mark.parametrize("made", [(), ("models",), ("images",)])
def test_what_is_missing_is_named(tmp_path, made):
    if "models" in made:
        write_onnx(tmp_path / "net.onnx", width=2)
    if "images" in made:
        write_images(tmp_path / "photos")
    expected = "no images below it" if "models" in made else "no usable .onnx or .tflite model"
    with pytest.raises(SpecificationError, match=expected):
        write_starter(tmp_path, tmp_path / "job.yaml")


def write_many(folder, classes, count=6, seed=3):
    """The same number of images for every class."""
    images, labels = texture_images(40 * count, seed)
    for place in classes:
        kind = classes.index(place) % 4
        for number in [n for n in range(len(labels)) if labels[n] == kind][:count]:
            (folder / place).mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[number]).save(folder / place / f"{number}.png")


def test_folders_of_splits_are_splits_and_no_classes(tmp_path):
    write_onnx(tmp_path / "net.onnx", width=2)
    for seed, split in enumerate(("train", "val", "test")):
        write_many(tmp_path / "data" / split, ("a", "b", "c", "d"), seed=seed)
    starter = write_starter(tmp_path, tmp_path / "job.yaml")
    spec = load_spec(tmp_path / "job.yaml")
    assert spec.workload.images == (tmp_path / "data").resolve()
    assert starter.summary == "1 model(s), 72 images in 4 classes"
    assert "# 72 images, 4 classes, a folder each: a 18, b 18, c 18, d 18." in starter.text
    assert "# Splits as they lie there: fit 24, tune 24, test 24." in starter.text
    assert "  splits:" not in starter.text
    assert spec.models[0].output.offset == 0


def test_loose_images_beside_class_folders_are_a_reason_and_no_way_out(tmp_path):
    write_onnx(tmp_path / "net.onnx", width=2)
    write_many(tmp_path / "photos", ("a", "b", "c", "d"))
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "loose.png")
    with pytest.raises(WorkloadError, match=r"24 image\(s\) lie in folders and 1 beside them"):
        write_starter(tmp_path, tmp_path / "job.yaml")


def test_rubbish_of_systems_does_not_hide_the_classes(tmp_path):
    write_onnx(tmp_path / "net.onnx", width=2)
    write_many(tmp_path / "photos", ("a", "b", "c", "d"))
    (tmp_path / "photos" / "__MACOSX" / "a").mkdir(parents=True)
    (tmp_path / "photos" / "__MACOSX" / "a" / "._1.png").write_bytes(b"x")
    (tmp_path / "photos" / "a" / "IMG_1.JXL").write_bytes(b"x")
    starter = write_starter(tmp_path, tmp_path / "job.yaml")
    assert starter.summary == "1 model(s), 24 images in 4 classes"
    (told,) = starter.notices
    assert told.endswith("photos: 1 .jxl, 1 in __MACOSX")
    assert "  # CHECK: " in starter.text


def test_a_folder_that_cannot_be_read_is_told_where_another_can(tmp_path):
    write_onnx(tmp_path / "net.onnx", width=2)
    write_many(tmp_path / "good", ("a", "b", "c", "d"))
    write_many(tmp_path / "bad", ("a", "b", "c", "d"), count=3)
    (tmp_path / "bad" / "labels.csv").write_text("file,label\nlost.png,1\n")
    starter = write_starter(tmp_path, tmp_path / "job.yaml")
    assert load_spec(tmp_path / "job.yaml").workload.images == (tmp_path / "good").resolve()
    (problem,) = starter.problems
    assert "lost.png" in problem


def test_linked_folders_are_found(tmp_path):
    (tmp_path / "zoo").mkdir()
    write_onnx(tmp_path / "zoo" / "net.onnx", width=2)
    write_many(tmp_path / "elsewhere", ("a", "b", "c", "d"))
    (tmp_path / "zoo" / "photos").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "zoo" / "photos" / "a" / "round").symlink_to(tmp_path / "zoo")
    starter = write_starter(tmp_path / "zoo", tmp_path / "zoo" / "job.yaml")
    assert starter.summary == "1 model(s), 24 images in 4 classes"


def test_uneven_classes_are_counted_and_get_a_metric_that_sees_them(tmp_path):
    write_onnx(tmp_path / "net.onnx", width=2)
    write_many(tmp_path / "photos", ("good",), count=99)
    write_many(tmp_path / "photos", ("scratch",), count=1)
    starter = write_starter(tmp_path, tmp_path / "job.yaml")
    spec = load_spec(tmp_path / "job.yaml")
    assert next(iter(spec.objectives)) == "balanced_accuracy"
    assert "good 99, scratch 1" in starter.text
    assert '#   - "recall[scratch] >= baseline - 0.02"  # the rarest class, 1 image(s)' in (
        starter.text
    )
    (told,) = starter.notices
    assert "to answer always good gives a top1 of 0.990 and never finds scratch" in told


def test_images_in_no_readable_layout_are_refused(tmp_path):
    write_onnx(tmp_path / "net.onnx", width=2)
    photos = tmp_path / "photos"
    write_images(photos, classes=None)
    (photos / "labels.csv").write_text("file,label\nlost.png,1\n")
    with pytest.raises(WorkloadError, match=r"lost\.png"):
        write_starter(tmp_path / "photos" / "..", tmp_path / "job.yaml")


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """In the working directory: zoo/, with a model and photographs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIMTAB_STORE", raising=False)
    (tmp_path / "zoo").mkdir()
    write_onnx(tmp_path / "zoo" / "net.onnx", width=8)
    write_images(tmp_path / "zoo" / "photos")


def test_init_refuses_to_overwrite(zoo, tmp_path, capsys):
    assert main(["init", "zoo"]) == 0
    told = capsys.readouterr().out
    assert "Wrote job.yaml: 1 model(s), 24 images in 4 classes." in told
    assert "Next: trimtab plan job.yaml" in told
    assert main(["init", "zoo"]) == 2
    assert "replace it with --force" in capsys.readouterr().err
    assert main(["init", "zoo", "--force"]) == 0
    assert main(["init", "nowhere", "-o", "other.yaml"]) == 2
    assert "nowhere: there is no such folder" in capsys.readouterr().err
    spec = yaml.safe_load((tmp_path / "job.yaml").read_text())
    assert spec["budget"] == {"minutes": 20}


@pytest.mark.slow
def test_the_file_of_init_runs_unchanged(zoo, capsys):
    assert main(["init", "zoo"]) == 0
    assert main(["plan", "job.yaml"]) == 0
    assert "chosen" in capsys.readouterr().out
