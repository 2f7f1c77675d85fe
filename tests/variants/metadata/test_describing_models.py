"""What describes a model is read: metadata in its file, configurations and class names beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from sample_metadata import MEDIAPIPE_TABLE, metadata_table, write_described_tflite
from sample_models import onnx_model, write_onnx

from trimtab.variants import describe_model
from trimtab.variants.metadata.description import Description

NAMES = ("airplane", "automobile", "bird", "cat")
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
#: How transformers cut where an odd number of pixels is left over.
DOWN = {"cut_rounding": "down"}
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "rescale_factor": 1 / 255,
    "resample": 3,
    "size": {"height": 32, "width": 32},
}


def with_properties(path: Path, **properties: str) -> Path:
    model = onnx_model(2)
    onnx.helper.set_model_props(model, {k.replace("__", "."): v for k, v in properties.items()})
    path.write_bytes(model.SerializeToString())
    return path


def first(path: Path) -> Description:
    return describe_model(path).sources[0]


def same(found: Any, wanted: Any) -> bool:
    if set(found) != set(wanted):
        return False
    return all(
        np.allclose(found[k], v, rtol=1e-5) if k in ("mean", "std") else found[k] == v
        for k, v in wanted.items()
    )


# ---- ONNX ------------------------------------------------------------------------------------


def test_an_onnx_file_without_metadata_says_nothing(tmp_path: Path) -> None:
    assert describe_model(write_onnx(tmp_path / "plain.onnx", 2)).sources == ()


def test_ultralytics_metadata(tmp_path: Path) -> None:
    names = str(dict(enumerate(NAMES)))
    written = {"names": names, "imgsz": "[32, 48]", "stride": "1", "task": "classify"}
    found = first(with_properties(tmp_path / "a.onnx", **written))
    assert found.labels == NAMES
    assert found.input == {"size": (32, 48)}
    assert found.source == "the file's metadata (names, imgsz)"
    # What its classifiers are fed is known where the file says that it is Ultralytics'.
    found = first(with_properties(tmp_path / "b.onnx", author="Ultralytics", **written))
    assert same(
        found.input,
        {"size": (32, 48), "mean": 0, "std": 255, "fit": "squash", "resize": "bilinear"},
    )
    found = first(with_properties(tmp_path / "c.onnx", author="Ultralytics", names=names))
    assert found.input == {}


@pytest.mark.parametrize(
    ("properties", "wanted"),
    [
        ({"Image__NominalPixelRange": "Normalized_0_1"}, {"mean": 0, "std": 255}),
        ({"image__nominalpixelrange": "normalized_1_1"}, {"mean": 127.5, "std": 127.5}),
        ({"Image__NominalPixelRange": "NominalRange_0_255"}, {"mean": 0, "std": 1}),
        ({"Image__BitmapPixelFormat": "Bgr8"}, {"colour": "bgr"}),
        ({"mean": "[0.485, 0.456, 0.406]", "std": "[0.229, 0.224, 0.225]"}, IMAGENET),
        ({"image_mean": "0.5", "image_std": "0.5"}, {"mean": 127.5, "std": 127.5}),
        ({"mean": "123.675 116.28 103.53", "std": "58.395 57.12 57.375"}, IMAGENET),
        (
            {"model_info mean_values": "0.4 0.5 0.6", "model_info scale_values": "1 1 1"},
            {"mean": (0.4, 0.5, 0.6), "std": 1},
        ),
        ({"input_size": "[3, 24, 40]"}, {"size": (24, 40)}),
        ({"img_size": "32"}, {"size": (32, 32)}),
    ],
)
def test_keys_of_other_exporters(
    tmp_path: Path, properties: dict[str, str], wanted: dict[str, Any]
) -> None:
    found = first(with_properties(tmp_path / "a.onnx", **properties))
    assert found.problems == ()
    assert same(found.input, wanted), found.input


@pytest.mark.parametrize(
    "written",
    [
        '{"0": "airplane", "1": "automobile", "2": "bird", "3": "cat"}',
        '{"airplane": 0, "cat": 3, "bird": 2, "automobile": 1}',
        '["airplane", "automobile", "bird", "cat"]',
        "('airplane', 'automobile', 'bird', 'cat')",
        "airplane,automobile,bird,cat",
        "airplane automobile bird cat",
    ],
)
@pytest.mark.parametrize("key", ["names", "classes", "ID2Label", "model_info labels"])
def test_names_of_classes_however_written(tmp_path: Path, key: str, written: str) -> None:
    assert first(with_properties(tmp_path / "a.onnx", **{key: written})).labels == NAMES


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"names": "{0: 'a', 2: 'c'}"}, "names: its 2 classes are not numbered from 0 on"),
        ({"names": "[]"}, "names no classes"),
        ({"imgsz": "large"}, "imgsz: 'large' is no number"),
        ({"imgsz": "[0, 10]"}, "[0, 10] is no size"),
        ({"mean": "[0, 0, 0]", "std": "[1, 1, 1]"}, "mean 0 and std 1 may be of pixels"),
        ({"mean": "[0.5, 0.5]", "std": "[0.5, 0.5]"}, "2 means and 2 stds, for 1 or 3 channels"),
        ({"mean": "0.5", "std": "0"}, "std must be above 0"),
        ({"Image__NominalPixelRange": "NominalRange_16_235"}, "no range that can be said"),
    ],
)
def test_what_cannot_be_read_is_told(
    tmp_path: Path, properties: dict[str, str], told: str
) -> None:
    found = first(with_properties(tmp_path / "a.onnx", **properties))
    assert (found.input, found.labels) == ({}, ())
    assert told in found.problems[0]


def test_names_that_are_made_up_are_none(tmp_path: Path) -> None:
    written = '{"0": "LABEL_0", "1": "LABEL_1"}'
    assert describe_model(with_properties(tmp_path / "a.onnx", id2label=written)).sources == ()


def test_the_size_closes_what_the_file_leaves_open(tmp_path: Path) -> None:
    closed, opened = write_onnx(tmp_path / "a.onnx", 2), tmp_path / "b.onnx"
    write_onnx(opened, 2, size="side")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    assert describe_model(closed).size is None
    assert describe_model(opened).size == (32, 32)
    assert "read from preprocessor_config.json: 32x32" in describe_model(opened).size_note


# ---- TFLite ----------------------------------------------------------------------------------


def test_tflite_metadata_of_mediapipe(tmp_path: Path) -> None:
    packed = {"labels_de.txt": "a\nb\nc\nd", "labels.txt": "\n".join(NAMES) + "\n"}
    found = first(write_described_tflite(tmp_path / "a.tflite", MEDIAPIPE_TABLE, packed))
    assert found.source == "the file's TFLite metadata (labels.txt)"
    assert same(found.input, {"mean": 127.5, "std": 127.5, "colour": "rgb"})
    assert found.labels == NAMES
    assert found.problems == ()


def test_normalisation_a_channel(tmp_path: Path) -> None:
    table = metadata_table([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
    assert same(first(write_described_tflite(tmp_path / "a.tflite", table, {})).input, IMAGENET)


def test_labels_without_a_table_and_as_ultralytics_packs_them(tmp_path: Path) -> None:
    packed = {"labels.txt": "0 airplane\n1 automobile\n2 bird\n3 cat"}
    found = first(write_described_tflite(tmp_path / "a.tflite", None, packed))
    assert (found.source, found.labels) == ("labels.txt in the file", NAMES)
    keys = {"names": dict(enumerate(NAMES)), "author": "Ultralytics", "task": "classify"}
    for name, text in (("metadata.json", json.dumps(keys)), ("temp_meta.txt", str(keys))):
        found = first(write_described_tflite(tmp_path / "b.tflite", None, {name: text}))
        assert found.labels == NAMES
        assert found.input["std"] == (255.0,)


@pytest.mark.parametrize(
    ("table", "packed", "told"),
    [
        (MEDIAPIPE_TABLE, {}, "its labels 'labels.txt' are not packed"),
        (MEDIAPIPE_TABLE[:200], {}, "TFLite metadata: cannot be read"),
        (b"\0" * 64, {}, "does not begin with M001"),
        (metadata_table([127.5], [0.0]), {}, "std must be above 0"),
        (MEDIAPIPE_TABLE, {"labels.txt": "a\n\nb\n"}, "its labels.txt cannot be read"),
    ],
)
def test_damaged_tflite_metadata_is_told(
    tmp_path: Path, table: bytes, packed: dict[str, str], told: str
) -> None:
    found = describe_model(write_described_tflite(tmp_path / "a.tflite", table, packed))
    assert told in found.problems[0]


def test_damage_anywhere_in_a_table_ends_in_a_problem_or_a_reading(tmp_path: Path) -> None:
    for place in range(8, len(MEDIAPIPE_TABLE), 3):
        table = bytearray(MEDIAPIPE_TABLE)
        table[place] ^= 0xFF
        describe_model(write_described_tflite(tmp_path / "a.tflite", bytes(table), {}))


# ---- beside ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "wanted"),
    [  # each compared with transformers' own processor, to the bit but for the float's last
        (PROCESSOR, {"size": (32, 32), "fit": "squash", "resize": "bicubic", **IMAGENET}),
        (
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
            {"size": (224, 224), "fit": "crop", "resize_size": (256, 256), **DOWN},
        ),
        (
            {"size": 256, "crop_size": 224, "do_center_crop": True},
            {"size": (224, 224), "fit": "crop", "resize_size": (256, 256), **DOWN},
        ),
        ({"size": 224}, {"size": (224, 224), "fit": "squash"}),
        (
            {"size": {"shortest_edge": 224}, "crop_pct": 0.875},  # ConvNeXt
            {"size": (224, 224), "fit": "crop", "resize_size": (256, 256), **DOWN},
        ),
        (
            {"size": {"shortest_edge": 384}, "crop_pct": 0.875},
            {"size": (384, 384), "fit": "squash"},
        ),
        (
            {"size": {"shortest_edge": 224}, "crop_pct": 0.9, "crop_size": 224},  # PoolFormer
            {"size": (224, 224), "fit": "crop", "resize_size": (248, 248), **DOWN},
        ),
        (
            {
                "size": {"shortest_edge": 224},
                "crop_size": 224,
                "image_processor_type": "LevitImageProcessor",
            },
            {"size": (224, 224), "fit": "crop", "resize_size": (256, 256), **DOWN},
        ),
        (
            {  # MobileViT
                "size": {"shortest_edge": 288},
                "crop_size": {"height": 256, "width": 256},
                "do_flip_channel_order": True,
                "do_normalize": False,
                "resample": 2,
            },
            {
                "size": (256, 256),
                "fit": "crop",
                "resize_size": (288, 288),
                **DOWN,
                "colour": "bgr",
                "mean": 0,
                "std": 255,
                "resize": "bilinear",
            },
        ),
        (
            {"image_mean": [0.5], "image_std": [0.5], "do_rescale": False},
            {"mean": 0.5, "std": 0.5},
        ),
        (
            {
                "image_mean": [0.5] * 3,
                "image_std": [0.5] * 3,
                "rescale_factor": 1 / 127.5,
                "rescale_offset": True,
            },
            {"mean": 191.25, "std": 63.75},
        ),
        (
            {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "include_top": True},
            {"mean": 127.5, "std": 63.75},
        ),
        ({"do_resize": False, "crop_size": 24, "do_center_crop": True}, {"size": (24, 24)}),
        ({"image_processor": {"size": 24}}, {"size": (24, 24), "fit": "squash"}),
    ],
)
def test_hugging_faces_processors(
    tmp_path: Path, config: dict[str, Any], wanted: dict[str, Any]
) -> None:
    name = "processor_config.json" if "image_processor" in config else "preprocessor_config.json"
    (tmp_path / name).write_text(json.dumps(config))
    found = first(write_onnx(tmp_path / "model.onnx", 2))
    assert found.source == name
    assert same(found.input, wanted), found.input


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "cannot be read"),
        ("[1]", "it holds a list, no fields"),
        ('{"do_normalize": true}', "gives not both image_mean and image_std"),
        ('{"size": {"longest_edge": 800}}', "none that an input of one size can have"),
        ('{"size": {"shortest_edge": 224}}', "so images differ in size"),
        ('{"size": 224, "crop_size": 256, "do_center_crop": true}', "which is smaller"),
        ('{"resample": 9}', "no filter of Pillow"),
        ('{"image_mean": "x", "image_std": "y"}', "no number"),
    ],
)
def test_a_file_beside_that_cannot_be_read_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text)
    found = describe_model(write_onnx(tmp_path / "model.onnx", 2))
    assert told in found.problems[0]


def test_a_hub_folder_with_the_model_below(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    config = {"id2label": dict(enumerate(NAMES)), "image_size": 32, "num_channels": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    processor, model = describe_model(write_onnx(tmp_path / "onnx" / "model.onnx", 2)).sources
    assert processor.input["fit"] == "squash"
    assert model.source == "config.json (id2label, image_size)"
    assert (model.labels, model.input) == (NAMES, {"size": (32, 32)})


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"crop_pct": 0.9}, {"fit": "crop", "crop": 0.9, "resize": "bicubic"}),
        ({"interpolation": "bilinear"}, {"fit": "crop", "crop": 0.875, "resize": "bilinear"}),
        (
            {"crop_pct": 1.0, "crop_mode": "squash"},
            {"fit": "squash", "resize_size": (32, 32), "resize": "bicubic"},
        ),
        (
            {"crop_pct": 1.0, "crop_mode": "border"},
            {"fit": "pad", "crop": 1.0, "pad_colour": (124, 116, 104), "resize": "bicubic"},
        ),
    ],
)
def test_timms_pretrained_configuration(
    tmp_path: Path, config: dict[str, Any], wanted: dict[str, Any]
) -> None:
    base = {
        "input_size": [3, 32, 32],
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    written = {"architecture": "x", "pretrained_cfg": base | config, "label_names": NAMES}
    (tmp_path / "config.json").write_text(json.dumps(written))
    found = first(write_onnx(tmp_path / "model.onnx", 2))
    assert found.source == "config.json (pretrained_cfg)"
    assert found.labels == NAMES
    assert same(found.input, {"size": (32, 32), **IMAGENET, **wanted}), found.input


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "airplane\nautomobile\nbird\ncat\n"),
        ("classes.txt", "\ufeffairplane\r\nautomobile\r\nbird\r\ncat\r\n"),
        ("labels.txt", "0 airplane\n1 automobile\n2 bird\n3 cat"),
        ("model_labels.txt", "1: airplane\n2: automobile\n3: bird\n4: cat"),
        ("class_indices.json", '{"cat": 3, "bird": 2, "automobile": 1, "airplane": 0}'),
        ("labels.json", '["airplane", "automobile", "bird", "cat"]'),
        ("labels.json", json.dumps([{"id": i, "name": name} for i, name in enumerate(NAMES)])),
        ("labels.txt", "airplane\nautomobile\nbird\ncat\n".encode("utf-16")),
    ],
)
def test_class_names_beside(tmp_path: Path, name: str, text: str | bytes) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    found = first(write_onnx(tmp_path / "model.onnx", 2))
    assert (found.source, found.labels) == (name, NAMES)


def test_indices_of_classes_that_are_text(tmp_path: Path) -> None:
    indices = {name: str(index) for index, name in enumerate(NAMES)}
    (tmp_path / "config.json").write_text(json.dumps({"label2id": indices}))
    found = first(write_onnx(tmp_path / "model.onnx", 2))
    assert (found.source, found.labels) == ("config.json (label2id)", NAMES)


def test_the_models_own_file_comes_before_one_of_all(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("x\ny\nz\nw")
    (tmp_path / "model.txt").write_text("\n".join(NAMES))
    assert first(write_onnx(tmp_path / "model.onnx", 2)).labels == NAMES


def test_a_class_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(b"caf\xe9\nb")
    (tmp_path / "labels.json").write_text("{")
    found = describe_model(write_onnx(tmp_path / "model.onnx", 2))
    assert found.problems[0].startswith("labels.txt: cannot be read")
