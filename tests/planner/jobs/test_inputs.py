"""A metric that the images can never tell stops a job before anything is measured."""

import shutil

import pytest
from PIL import Image

from trimtab.planner.jobs.dataset import load_dataset, used_inputs
from trimtab.planner.specification.job import load_spec
from trimtab_runtime.errors import SpecificationError

CLASSES = ("defective", "good [new]", "two words")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for index, name in enumerate(CLASSES):
        (folder / name).mkdir()
        for number in range(10):
            colour = (number * 20, index * 80, 0)
            Image.new("RGB", (4, 4), colour).save(folder / name / f"{number}.png")
    return folder


def spec_of(photos, objectives=("top1",), constraints=(), workload=None, **changes):
    return load_spec(
        {
            "name": "x",
            "models": [{"path": "a.onnx"}],
            "workload": {
                "images": str(photos),
                "splits": {"fit": 6, "tune": 12, "test": 12},
                **(workload or {}),
            },
            "objectives": {**dict.fromkeys(objectives, "max"), "latency_mean_ms": "min"},
            "constraints": list(constraints),
            **changes,
        }
    )


def test_the_metrics_of_classes_that_exist(photos):
    constraints = ["recall[two words] >= baseline - 0.01", "macro_f1 >= 0.5"]
    spec = spec_of(photos, ["recall[defective]", "recall[good [new]]", "macro_f1"], constraints)
    workload, splits = load_dataset(spec)
    assert used_inputs(workload, splits, spec, photos)[1].classes == CLASSES


@pytest.mark.parametrize(
    ("objectives", "constraints", "message"),
    [
        (
            ["recall[defectve]"],
            [],
            r"^objectives: 'recall\[defectve\]': no class is called 'defectve'; did you mean "
            r"'recall\[defective\]'\? \(the classes are defective, good \[new\], two words\)$",
        ),
        (["recall[ defective]"], [], r"did you mean 'recall\[defective\]'\?"),
        (["recall[0]"], [], r"no class is called '0' \(the classes are"),
        (
            ["top1"],
            ["top1 >= 0.1", "recall[two  words] >= 0.95"],
            r"^constraints\[1\]: .* did you mean 'recall\[two words\]'\?",
        ),
        (["agreement"], [], "^objectives: agreement needs a `reference`"),
        (["top1"], ["agreement >= 0.9"], r"^constraints\[0\]: agreement needs a `reference`"),
    ],
)
def test_what_cannot_be_told(photos, objectives, constraints, message):
    with pytest.raises(SpecificationError, match=message):
        load_dataset(spec_of(photos, objectives, constraints))


def test_a_class_without_images_in_tune_cannot_be_told(photos):
    classes = {"classes": [*CLASSES, "never seen"]}
    with pytest.raises(
        SpecificationError, match=r"\[never seen\]' cannot be estimated: no validation image"
    ):
        load_dataset(spec_of(photos, ["recall[never seen]"], workload=classes))


def test_a_class_whose_images_are_all_in_other_splits_cannot_be_told(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos" / "rare").mkdir()
    Image.new("RGB", (4, 4), (255, 255, 255)).save(tmp_path / "photos" / "rare" / "0.png")
    told = set()
    for seed in range(20):
        splits = {"splits": {"fit": 6, "tune": 12, "test": 12, "seed": seed}}
        spec = spec_of(tmp_path / "photos", constraints=["recall[rare] >= 0.5"], workload=splits)
        try:
            workload, found = load_dataset(spec)
        except SpecificationError as error:
            assert "constraints[0]: 'recall[rare]' cannot be estimated" in str(error)
            told.add(False)
        else:
            assert workload.classes.index("rare") in workload.labels[found.tune]
            told.add(True)
    assert told == {True, False}


def test_classes_that_bear_one_name_cannot_be_told_apart(photos):
    classes = {"classes": [*CLASSES, "crane", "crane"]}
    with pytest.raises(SpecificationError, match="ambiguous: 2 classes have this name"):
        load_dataset(spec_of(photos, ["recall[crane]"], workload=classes))


def test_without_labels_a_constraint_on_them_is_refused_and_an_objective_is_not(photos, tmp_path):
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        (tmp_path / f"{number}.png").write_bytes(path.read_bytes())
    load_dataset(spec_of(tmp_path, ["recall[defective]"], reference="a"))
    for constraint in ("recall[defective] >= 0.5", "macro_f1 >= 0.5"):
        with pytest.raises(SpecificationError, match=r"constraints\[0\]: .* needs labels"):
            load_dataset(spec_of(tmp_path, ["agreement"], [constraint], reference="a"))


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ({"recall": "max"}, r"^objectives: unknown metric 'recall'.*recall\[CLASS\]"),
        ({"recall[]": "max"}, r"^objectives: unknown metric 'recall\[\]'"),
        (
            {"macro-f1": "max"},
            r"^objectives: unknown metric 'macro-f1'; did you mean 'macro_f1'\?",
        ),
        ({"recall[a]": "min"}, r"^objectives: recall\[a\] must be 'max', got 'min'"),
    ],
)
def test_malformed_names_are_told_when_the_specification_is_read(photos, objectives, message):
    with pytest.raises(SpecificationError, match=message):
        load_spec({**spec_of(photos).model_dump(mode="json"), "objectives": objectives})
