"""Members that describe themselves: what is read is used and told, what is said wins."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exported_models import ends_with, open_axes, save, tensor
from hub_models import turned_net
from onnx import TensorProto, helper, numpy_helper
from sample_metadata import MEDIAPIPE_TABLE, metadata_table, write_described_tflite
from sample_models import make_net, onnx_model, write_onnx, write_photos

from trimtab.planner.candidates.member_setup import (
    MemberSetup,
    check_width,
    set_up,
    wishes_of,
)
from trimtab.planner.candidates.output_labels import JobClasses
from trimtab.planner.candidates.output_trials import LabelledTrial
from trimtab.planner.cli import main
from trimtab.planner.setup_check.proposal import propose
from trimtab.planner.specification.job import load_spec
from trimtab.planner.specification.scaffold import write_starter
from trimtab.planner.specification.sections import ModelSpec
from trimtab.variants import describe_model, inspect_model, open_view
from trimtab.workloads import read_workload
from trimtab_runtime.errors import ModelError

CLASSES = ("class0", "class1", "class2", "class3")


def member(
    path: Path,
    classes: Sequence[str] = CLASSES,
    ordered: bool = False,
    trial: LabelledTrial | None = None,
    **said: Any,
) -> MemberSetup:
    model = ModelSpec.model_validate({"path": path, **said})
    facts = inspect_model(path)
    job = JobClasses(classes, ordered)
    return set_up(model, path, facts, describe_model(path), job, trial)


def told(setup: MemberSetup, level: str = "info") -> str:
    return "\n".join(text for kind, text in setup.notes if kind == level)


def described_onnx(path: Path, names: Sequence[str] | None = None, **options: Any) -> Path:
    model = onnx_model(2, **options)
    properties = {"mean": "0.5", "std": "0.5"}
    if names is not None:
        properties["names"] = json.dumps(dict(enumerate(names)))
    onnx.helper.set_model_props(model, properties)
    path.write_bytes(model.SerializeToString())
    return path


def trial_on(folder: Path, metric: str = "top1") -> LabelledTrial:
    workload = read_workload(folder)
    return LabelledTrial(workload.items, workload.items, workload.classes, metric, 120)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, 48)
    return folder


# ---- inputs ----------------------------------------------------------------------------------


def test_what_the_file_says_is_used_and_told(tmp_path: Path) -> None:
    setup = member(described_onnx(tmp_path / "a.onnx"))
    assert (setup.variant.input.mean, setup.variant.input.std) == ((127.5,), (127.5,))
    assert "read from the file's metadata (mean, std): mean 127.5, std 127.5" in told(setup)
    table = metadata_table([10.0], [20.0])
    setup = member(write_described_tflite(tmp_path / "b.tflite", table, {}))
    assert (setup.variant.input.mean, setup.variant.input.std) == ((10.0,), (20.0,))


def test_what_is_said_wins_and_a_contradiction_is_told_once(tmp_path: Path) -> None:
    path = described_onnx(tmp_path / "a.onnx")
    setup = member(path, input={"mean": 0, "std": 255})
    assert setup.variant.input.std == (255.0,)
    assert told(setup, "warning").count("mean 0, std 255 is used as said, but the file's") == 1
    for agreeing in ({"mean": 127.4, "std": 127.5}, {"mean": 0.5, "std": 0.5, "values": "0..1"}):
        assert told(member(path, input=agreeing), "warning") == ""


def test_the_file_itself_comes_before_files_beside(tmp_path: Path) -> None:
    path = described_onnx(tmp_path / "a.onnx")
    config = {"image_mean": [0.4] * 3, "image_std": [0.2] * 3, "size": 32, "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    setup = member(path)
    assert setup.variant.input.mean == (127.5,)
    assert setup.variant.input.resize == "bicubic"
    assert "preprocessor_config.json says mean 102, std 51" in told(setup, "warning")


def test_a_geometry_for_another_size_is_not_taken(tmp_path: Path) -> None:
    path = described_onnx(tmp_path / "a.onnx")
    config = {"size": {"shortest_edge": 256}, "crop_size": 224, "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    setup = member(path)
    assert (setup.variant.input.size, setup.variant.input.fit) == ((32, 32), "squash")
    assert "size 224 224: the file takes 32 32" in told(setup)
    assert "that is for an input of 224 224, this one is 32 32" in told(setup)
    assert "fit" not in setup.told


def test_what_the_graph_does_is_not_done_twice(tmp_path: Path) -> None:
    model = onnx_model(2)
    model.graph.initializer.append(numpy_helper.from_array(np.float32(127.5), "half"))
    model.graph.node[0].input[0] = "ready"
    model.graph.node.insert(0, helper.make_node("Sub", ["image", "half"], ["off"], name="s"))
    model.graph.node.insert(1, helper.make_node("Div", ["off", "half"], ["ready"], name="d"))
    path = tmp_path / "inside.onnx"
    path.write_bytes(model.SerializeToString())
    config = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    setup = member(path)
    assert (setup.variant.input.mean, setup.variant.input.std) == ((0.0,), (1.0,))
    assert "the graph normalises for itself, and it is not done twice" in told(setup)


def test_a_quantised_input_takes_pixels_whatever_the_metadata_say(tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    write_described_tflite(path, metadata_table([127.5], [127.5]), {}, quantised=True)
    setup = member(path)
    assert (setup.variant.input.dtype, setup.variant.input.std) == ("uint8", (1.0,))
    assert "the uint8 input takes pixels as they are" in told(setup)


def test_colours_that_do_not_fit_the_channels_are_left(tmp_path: Path) -> None:
    model = onnx_model(2, channels=1)
    onnx.helper.set_model_props(
        model, {"mean": "0.1 0.2 0.3", "std": "0.5", "Image.BitmapPixelFormat": "Bgr8"}
    )
    (tmp_path / "gray.onnx").write_bytes(model.SerializeToString())
    setup = member(tmp_path / "gray.onnx", input={"mean": 127.5, "std": 127.5})
    assert setup.variant.input.colour == "gray"
    assert "colour bgr: the input has 1 channel(s)" in told(setup)
    with pytest.raises(ModelError, match=r"give input\.mean"):
        member(tmp_path / "gray.onnx")


def test_a_file_that_cannot_be_read_is_told_and_no_more(tmp_path: Path) -> None:
    path = described_onnx(tmp_path / "a.onnx")
    (tmp_path / "preprocessor_config.json").write_text("{")
    setup = member(path)
    assert setup.variant.input.mean == (127.5,)
    assert "preprocessor_config.json: cannot be read" in told(setup, "warning")


# ---- outputs ---------------------------------------------------------------------------------


def test_names_in_the_order_of_the_classes_change_nothing(tmp_path: Path) -> None:
    setup = member(described_onnx(tmp_path / "a.onnx", CLASSES))
    assert (setup.variant.output.groups, setup.classes) == (None, 4)
    assert "(class0, class1, class2, ... 4 in all); in the order of the classes" in told(setup)


def test_names_in_another_order_are_followed(tmp_path: Path) -> None:
    path = described_onnx(tmp_path / "a.onnx", ("class2", "class0", "class1", "class3"))
    setup = member(path)
    assert setup.variant.output.groups == ((1,), (2,), (0,), (3,))
    # An order that is said wins, and that is told.
    setup = member(path, ordered=True)
    assert setup.variant.output.groups is None
    assert "the order of workload.classes is used as said" in told(setup, "warning")
    # So do names that are said.
    setup = member(path, output={"classes": CLASSES})
    assert setup.variant.output.groups is None


@pytest.mark.parametrize(
    "names",
    [
        ("Class 1", "class_0", "CLASS-3", "class 2"),
        ("class1, first", "class0, second", "class3", "class2"),
    ],
)
def test_names_that_are_spelled_otherwise(tmp_path: Path, names: Sequence[str]) -> None:
    spaced = ("class 0", "class 1", "class 2", "class 3") if "Class 1" in names else CLASSES
    setup = member(described_onnx(tmp_path / "a.onnx", names), spaced)
    assert setup.variant.output.groups == ((1,), (0,), (3,), (2,))


def test_more_outputs_than_labels_are_left_out_by_name(tmp_path: Path) -> None:
    setup = member(described_onnx(tmp_path / "a.onnx", CLASSES), ("class3", "class1"))
    assert setup.variant.output.groups == ((3,), (1,))
    assert "the job's 2 classes are found by name, the other 2 left out" in told(setup)
    check_width(setup, 4, JobClasses(("class3", "class1")))


def test_a_background_that_is_named_is_left_out(tmp_path: Path) -> None:
    path = described_onnx(tmp_path / "a.onnx", ("background", "b", "c", "d"))
    setup = member(path, ("b", "c", "d"))
    assert (setup.variant.output.offset, setup.classes) == (1, 3)
    assert "the first is a background, which is left out" in told(setup)
    # A first output that is named otherwise is a class that the job does not have.
    path = described_onnx(tmp_path / "b.onnx", ("a", "b", "c", "d"))
    setup = member(path, ("b", "c", "d"))
    assert setup.variant.output.groups == ((1,), (2,), (3,))


def test_names_that_do_not_fit_are_told_and_not_used(tmp_path: Path) -> None:
    setup = member(described_onnx(tmp_path / "a.onnx", ("a", "b", "c", "d")))
    assert setup.variant.output.groups is None
    assert "not used: it does not name 'class0', 'class1', 'class2'" in told(setup)
    setup = member(described_onnx(tmp_path / "b.onnx", ("a", "b")))
    assert "not used: it names 2 classes, but there are 4 outputs" in told(setup)


def test_packed_labels_decide_the_order(tmp_path: Path) -> None:
    packed = {"labels.txt": "class1\nclass0\nclass3\nclass2"}
    setup = member(write_described_tflite(tmp_path / "a.tflite", MEDIAPIPE_TABLE, packed))
    assert setup.variant.output.groups == ((1,), (0,), (3,), (2,))


# ---- as hubs have them -----------------------------------------------------------------------


@pytest.mark.parametrize("axes", [["n", "c", "h", "w"], [None] * 4, ["n", 3, None, None]])
def test_all_axes_are_closed_by_what_lies_beside(
    tmp_path: Path, axes: list[str | int | None]
) -> None:
    """As Hugging Face's exporters leave them: nothing need be said."""
    (tmp_path / "onnx").mkdir()
    path = save(tmp_path / "onnx" / "model.onnx", open_axes(onnx_model(2), axes))
    config = {"size": {"height": 32, "width": 40}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    model, description = ModelSpec(path=path), describe_model(path)
    view = open_view(path, tmp_path / "view", wishes_of(model, 4, description))
    facts = inspect_model(view.path)
    setup = set_up(model, view.path, facts, description, JobClasses(CLASSES))
    assert (facts.input_size, facts.channels) == ((32, 40), 3)
    assert (setup.variant.input.size, setup.variant.input.std) == ((32, 40), (127.5,))
    assert "is read from preprocessor_config.json: 32x40" in told(setup)
    # A size that is said wins over one that is described.
    said = ModelSpec.model_validate({"path": path, "input": {"size": 48}})
    view = open_view(path, tmp_path / "other", wishes_of(said, 4, description))
    facts = inspect_model(view.path)
    setup = set_up(said, view.path, facts, description, JobClasses(CLASSES))
    assert setup.variant.input.size == (48, 48)
    assert "size 48 is used as said, but preprocessor_config.json says size 32 40" in (
        told(setup, "warning")
    )


def test_odd_names_of_files_tensors_and_classes(tmp_path: Path) -> None:
    model = ends_with(
        onnx_model(2),
        helper.make_node("Reshape", ["logits", "flat"], ["last"]),
        shape=[1, 1, 1, 4],
    )
    tensor(model, "flat", np.array([1, 1, 1, 4]))
    graph = model.graph
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [ODD.get(name, name) for name in names]
    graph.input[0].name, graph.output[0].name = ODD["image"], ODD["last"]
    names = ("北", "the cat, sitting", "a/b:0", "d'or")
    onnx.helper.set_model_props(model, {"names": str(dict(enumerate(names))), "mean": "0.5"})
    path = save(tmp_path / "modèle final (v2) 北.onnx", model)
    setup = member(path, names[::-1], input={"values": "-1..1"})
    assert setup.variant.output.groups == ((3,), (2,), (1,), (0,))
    assert "北, the cat, sitting, a/b:0" in told(setup)


ODD = {"image": "images/input:0", "last": "StatefulPartitionedCall/logits:0"}


# ---- what only images tell -------------------------------------------------------------------


def with_another_output(path: Path, front: bool) -> Path:
    """The textures' network with an output more, which is sure of nothing."""
    net = make_net(16)
    weights, bias = np.zeros((1, net.head.shape[1]), np.float32), np.full(1, -50, np.float32)
    parts = [(weights, bias), (net.head, net.head_bias)]
    both = parts if front else parts[::-1]
    head, head_bias = (np.concatenate(each) for each in zip(*both, strict=True))
    wider = replace(net, head=head, head_bias=head_bias)
    model = onnx_model(16, net=wider)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5
    path.write_bytes(model.SerializeToString())
    return path


def test_a_background_is_tried(tmp_path: Path, photos: Path) -> None:
    said: Any = {"input": {"mean": 127.5, "std": 127.5}}
    front = with_another_output(tmp_path / "front.onnx", front=True)
    setup = member(front, trial=trial_on(photos), **said)
    assert (setup.variant.output.offset, setup.classes) == (1, 4)
    assert "images are answered rightly with the first output as background" in told(setup)
    last = with_another_output(tmp_path / "last.onnx", front=False)
    with pytest.raises(ModelError, match=r"with the last; .*name all 5 outputs"):
        member(last, trial=trial_on(photos), **said)
    # What is said is not tried.
    setup = member(front, trial=trial_on(photos), output={"offset": 0}, **said)
    assert setup.variant.output.offset == 0


def test_a_background_that_images_do_not_tell_is_asked_for(tmp_path: Path, photos: Path) -> None:
    blind = tmp_path / "blind.onnx"
    net = make_net(2)
    head = np.zeros((5, net.head.shape[1]), np.float32)
    bias = np.array([0, 0, 9, 0, 0], np.float32)
    model = onnx_model(2, net=replace(net, head=head, head_bias=bias))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5
    blind.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"12 of 48 .* 12 with the last; set output.offset: 1"):
        member(blind, trial=trial_on(photos), input={"mean": 127.5, "std": 127.5})
    empty = LabelledTrial([], [], CLASSES, "top1", 120)
    with pytest.raises(ModelError, match="no image has a label"):
        member(blind, trial=empty, input={"mean": 127.5, "std": 127.5})


def write_bright(path: Path, sigmoid: bool, at: float) -> Path:
    """One score of an image (32, 32): above 0, or 0.5, where its mean pixel is above `at`."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], name="m", axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["mean", "at"], ["off"], name="s"),
        helper.make_node("Mul", ["off", "steep"], ["logit"], name="x"),
        helper.make_node("Reshape", ["logit", "shape"], ["score"], name="r"),
    ]
    if sigmoid:
        nodes.append(helper.make_node("Sigmoid", ["score"], ["probability"], name="p"))
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, [1, 1])],
        [
            numpy_helper.from_array(np.float32(at), "at"),
            numpy_helper.from_array(np.float32(0.05), "steep"),
            numpy_helper.from_array(np.array([1, 1]), "shape"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain images: of `dark` 10 to 90 bright, of `light` 110 to 190; 40 and 10."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("shades")
    for name, values in (("dark", np.linspace(10, 90, 40)), ("light", np.linspace(110, 190, 10))):
        (folder / name).mkdir()
        for number, value in enumerate(values):
            image = Image.new("RGB", (32, 32), (round(value),) * 3)
            image.save(folder / name / f"{number:02}.png")
    return folder


@pytest.mark.parametrize("sigmoid", [True, False])
@pytest.mark.parametrize("turned", [True, False])
def test_a_tuned_threshold_is_the_best_of_tune(
    tmp_path: Path, shades: Path, sigmoid: bool, turned: bool
) -> None:
    path = write_bright(tmp_path / "bright.onnx", sigmoid, at=50)
    said: Any = {
        "input": {"mean": 0, "std": 1},
        "output": {"kind": "binary", "threshold": "tuned"},
    }
    names = ("dark", "light")
    if turned:  # folders in another order than the model's outputs
        said["output"]["classes"] = ["dark", "light"]
        names = ("light", "dark")
    workload = read_workload(shades, classes=names)
    trial = LabelledTrial(workload.items, workload.items, names, "balanced_accuracy", 120)
    setup = member(path, names, trial=trial, **said)
    threshold = setup.variant.output.threshold
    assert threshold is not None
    low, high = (1 / (1 + np.exp(-0.05 * (value - 50))) for value in (90, 110))
    assert low < threshold < high
    assert "best of tune for balanced_accuracy: 1.000 (0.7" in told(setup)
    fair = re.search(r"([01]\.\d+) on each part of them by the threshold", told(setup))
    assert fair and 0.9 < float(fair[1]) <= 1


def test_imagenet_behind_a_background(tmp_path: Path) -> None:
    few = make_net(2)
    wide = replace(few, head=np.ones((1001, 4), np.float32), head_bias=np.ones(1001, np.float32))
    model, path = onnx_model(2, net=wide), tmp_path / "a.onnx"
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1001
    onnx.save(model, path)
    said: Any = {"input": {"mean": 127.5, "std": 127.5}}
    setup = member(path, ("n01440764", "n03888257"), **said)
    assert setup.variant.output.offset == 1
    assert setup.variant.output.groups == ((0,), (701,))
    assert "stand behind a background" in told(setup)
    without = member(path, ("n01440764", "n03888257"), **said, output={"offset": 0})
    with pytest.raises(ModelError, match=r"set output.offset: 1 where ImageNet's 1000"):
        check_width(without, 1001, JobClasses(("n01440764", "n03888257")))


def test_a_threshold_that_only_fits_noise_stays(tmp_path: Path) -> None:
    """The best of tune looks better than 0.5, and is not on other images."""
    from PIL import Image

    shades = np.random.default_rng(5).permutation(np.arange(20, 80, 2))
    for number, value in enumerate(shades):  # brightness that has nothing to do with the class
        place = tmp_path / "photos" / ("dark" if number % 2 else "light")
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (int(value),) * 3).save(place / f"{number:02}.png")
    workload = read_workload(tmp_path / "photos", classes=("dark", "light"))
    trial = LabelledTrial(workload.items, workload.items, workload.classes, "top1", 120)
    path = write_bright(tmp_path / "bright.onnx", True, at=50)
    said: Any = {"input": {"mean": 0, "std": 1}, "output": {"threshold": "tuned"}}
    setup = member(path, workload.classes, trial=trial, **said)
    assert setup.variant.output.threshold == 0.5


def test_a_threshold_is_tuned_for_a_single_score_with_labels(tmp_path: Path, photos: Path) -> None:
    said: Any = {"input": {"mean": 127.5, "std": 127.5}, "output": {"threshold": "tuned"}}
    with pytest.raises(ModelError, match="threshold is for a single score"):
        member(write_onnx(tmp_path / "a.onnx", 2), trial=trial_on(photos), **said)
    path = write_bright(tmp_path / "bright.onnx", True, at=50)
    empty = LabelledTrial([], [], ("a", "b"), "top1", 120)
    with pytest.raises(ModelError, match="chosen for top1 on tune, whose images have no labels"):
        member(path, ("a", "b"), trial=empty, **said)


# ---- commands --------------------------------------------------------------------------------


def described_folder(folder: Path) -> None:
    """A TFLite file with metadata, and an ONNX file of any size as hubs have it, with photos."""
    packed = {"labels.txt": "class1\nclass0\nclass3\nclass2"}
    write_described_tflite(folder / "packed.tflite", MEDIAPIPE_TABLE, packed, net=turned_net())
    (folder / "hub" / "onnx").mkdir(parents=True)
    write_onnx(folder / "hub" / "onnx" / "model.onnx", 16, size="side")
    config = {
        "size": {"shortest_edge": 36},
        "crop_size": {"height": 32, "width": 32},
        "resample": 3,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "hub" / "preprocessor_config.json").write_text(json.dumps(config))
    (folder / "hub" / "config.json").write_text(json.dumps({"id2label": dict(enumerate(CLASSES))}))
    write_photos(folder / "photos", 48)


def test_init_writes_what_describes_models_and_where_it_is_from(tmp_path: Path) -> None:
    described_folder(tmp_path)
    starter = write_starter(tmp_path, tmp_path / "job.yaml", propose)
    hub, packed = load_spec(tmp_path / "job.yaml").models
    said = hub.input.model_dump(exclude_unset=True)
    assert said == {
        "size": 32,
        "mean": 127.5,
        "std": 127.5,
        "resize": "bicubic",
        "fit": "crop",
        "resize_size": 36,
        "cut_rounding": "down",
    }
    assert (packed.input.mean, packed.input.colour) == (127.5, "rgb")
    assert starter.guesses == 1  # the TFLite file does not say how images are resized
    assert "size: 32  # preprocessor_config.json" in starter.text
    assert "mean: 127.5  # the file's TFLite metadata (labels.txt); tried: 0.9" in starter.text
    assert "labels.txt) names its outputs: class1, class0, class3, class2; the images" in (
        starter.text
    )
    assert load_spec(tmp_path / "job.yaml").workload.classes is None


def test_check_setup_tells_what_was_read_and_what_is_refused(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt = tmp_path / "spoilt.onnx"
    spoilt.write_bytes(b"hello, this is no model")
    packed = {"labels.txt": "class1\nclass0\nclass3\nclass2"}
    path = tmp_path / "a.tflite"
    write_described_tflite(path, MEDIAPIPE_TABLE, packed, net=turned_net())
    (tmp_path / "job.yaml").write_text(
        f"name: a\nmodels: [{{path: {spoilt}}}, {{path: {path}}}]\n"
        f"workload: {{images: {photos}}}\nobjectives: {{top1: max, latency_mean_ms: min}}\n"
    )
    assert main(["check-setup", str(tmp_path / "job.yaml")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "could not be tried: spoilt.onnx: damaged or no ONNX file" in said
    assert "a: read from the file's TFLite metadata (labels.txt): mean 127.5, std 127.5" in said
    assert "the job's 4 classes are found by name, in another order" in said
    assert "holds" in said
