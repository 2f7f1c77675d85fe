"""The file tells, the specification says the rest, contradictions are errors."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_models import CLASSES, INPUT, activations, make_net, texture_images, write_onnx
from sample_tflite import write_tflite

from trimtab.variants import derive_variant, find_contradictions, inspect_model, make_variant
from trimtab_runtime.definitions.plan import InputFormat, Quantisation, RuntimeOptions, Variant
from trimtab_runtime.engines import create_engine, format_engine
from trimtab_runtime.errors import ModelError
from trimtab_runtime.images.preprocess import Preprocessor


def made(
    path: Path, input: Mapping[str, Any] = INPUT, output: Mapping[str, Any] | None = None
) -> Variant:
    return make_variant(path, inspect_model(path), input, output or {}, "m")


def answers(path: Path, variant: Variant, images: Any) -> Any:
    engine = create_engine(str(path), variant, RuntimeOptions(format_engine(variant.format)))
    return np.stack([engine.run(Preprocessor(i).tensor(variant.input)) for i in images])


def test_file_and_specification_together(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx")
    said = {"size": 32, "resize": "bicubic", "mean": 127, "std": [58, 57, 56], "crop": 0.9}
    variant = made(path, said, {"kind": "logits", "offset": 1})
    assert variant.input == InputFormat(
        size=(32, 32), resize="bicubic", mean=(127.0,), std=(58.0, 57.0, 56.0), crop=0.9
    )
    assert (variant.output.kind, variant.output.offset) == ("logits", 1)
    assert variant.sha256 == inspect_model(path).sha256


def test_all_formats_of_one_network_give_its_answers(tmp_path: Path) -> None:
    images, labels = texture_images(40, seed=3)
    expected = activations(make_net(), images)[3]
    onnx_path = write_onnx(tmp_path / "a.onnx")
    assert np.allclose(answers(onnx_path, made(onnx_path), images), expected, atol=1e-4)
    nhwc = write_onnx(tmp_path / "b.onnx", layout="nhwc", batch="n", size="s")
    variant = made(nhwc, {**INPUT, "size": [32, 32], "layout": "nhwc"})
    assert np.allclose(answers(nhwc, variant, images), expected, atol=1e-4)
    tflite = write_tflite(tmp_path / "c.tflite", softmax=False)
    assert np.allclose(answers(tflite, made(tflite), images), expected, atol=1e-4)
    stored = write_tflite(tmp_path / "d.tflite", quantised=True, softmax=False)
    found = answers(stored, made(stored, {}), images)
    assert np.abs(found - expected).mean() < 0.15 * np.abs(expected).mean()
    assert (found.argmax(1) == labels).mean() > (expected.argmax(1) == labels).mean() - 0.1


def test_background_is_dropped(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx")
    images, _ = texture_images(2)
    whole = answers(path, made(path), images)
    assert np.array_equal(answers(path, made(path, INPUT, {"offset": 1}), images), whole[:, 1:])


def test_quantised_inputs_take_raw_pixels(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "a.tflite", quantised=True)
    fmt = made(path, {}).input
    assert (fmt.mean, fmt.std) == ((0.0,), (1.0,))
    assert fmt.quantisation == Quantisation(0.007843138, 128)
    images, _ = texture_images(1)
    assert np.array_equal(Preprocessor(images[0]).tensor(fmt)[0], images[0])
    said = Preprocessor(images[0]).tensor(made(path).input)[0]
    assert np.abs(said.astype(int) - images[0]).max() <= 1


def test_a_quantised_range_that_is_no_plain_one_needs_the_normalisation(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "a.tflite", quantised=True)
    facts = dataclasses.replace(inspect_model(path), input_quantisation=Quantisation(0.0187, 114))
    with pytest.raises(ModelError, match=r"covers -2.13 to 2.64, which is no plain range"):
        make_variant(path, facts, {}, {}, "m")
    raw = make_variant(path, facts, {"mean": 0, "std": 1}, {}, "m")
    assert raw.input.std == (1.0,)
    unscaled = dataclasses.replace(facts, input_quantisation=None)
    assert make_variant(path, unscaled, {}, {}, "m").input.dtype == "uint8"
    with pytest.raises(ModelError, match="takes raw pixels"):
        make_variant(path, unscaled, INPUT, {}, "m")


def test_one_channel_is_gray(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx", channels=1)
    assert made(path).input.colour == "gray"
    with pytest.raises(ModelError, match="colour: rgb, but the model file says 1 channel"):
        made(path, {**INPUT, "colour": "rgb"})


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, "give input.mean and input.std"),
        ({"mean": 127}, "belong together, got only mean"),
        ({**INPUT, "size": 224}, "says input.size: 224, but the model file says 32x32"),
        ({**INPUT, "size": [32]}, r"a number or \[height, width\]"),
        ({**INPUT, "size": "big"}, "must be a whole number"),
        ({**INPUT, "size": True}, "must be a whole number"),
        ({**INPUT, "dtype": "uint8"}, "says input.dtype: uint8, but the model file says float32"),
        ({**INPUT, "layout": "nhwc"}, "says input.layout: nhwc, but the model file says nchw"),
        ({**INPUT, "colour": "gray"}, "3 channel"),
        ({**INPUT, "color": "rgb"}, "input.color is unknown"),
        ({**INPUT, "resize": "cubic"}, "resize must be one of"),
        ({**INPUT, "crop": 0}, "0 < crop <= 1"),
        ({"mean": "a", "std": 1}, "input.mean must be a finite number"),
        ({"mean": float("nan"), "std": 1}, "input.mean must be a finite number"),
        ({"mean": 0, "std": 0}, "std must not be zero"),
        ({"mean": [1, 2], "std": 1}, "mean needs 1 or 3 values"),
        (
            {**INPUT, "values": "0..2"},
            "input.values must be one of 0..255, 0..1, -1..1",
        ),
        ({**INPUT, "fit": "stretch"}, "fit must be one of squash, crop, pad"),
        ({**INPUT, "fit": "crop", "resize_size": 16}, "resize_size >= size must hold"),
        ({**INPUT, "pad_colour": 114}, "pad_colour is for fit: pad"),
    ],
)
def test_wrong_inputs(tmp_path: Path, said: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        made(write_onnx(tmp_path / "a.onnx"), said)


IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@pytest.mark.parametrize(
    ("said", "mean", "std"),
    [
        ({"values": "0..255"}, (0.0,), (1.0,)),
        ({"values": "0..1"}, (0.0,), (255.0,)),
        ({"values": "-1..1"}, (127.5,), (127.5,)),
        ({"values": "0..1", **IMAGENET}, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ({"values": "-1..1", "mean": 0.5, "std": 0.25}, (191.25,), (31.875,)),
        ({"values": "0..255", "mean": 0, "std": 0.5}, (0.0,), (0.5,)),
        ({"mean": 127, "std": 128}, (127.0,), (128.0,)),
    ],
    ids=str,
)
def test_mean_and_std_in_either_scale(
    tmp_path: Path, said: dict[str, Any], mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    fmt = made(write_onnx(tmp_path / "a.onnx"), said).input
    assert fmt.mean == pytest.approx(mean)
    assert fmt.std == pytest.approx(std)


def test_a_std_below_one_level_names_both_readings(tmp_path: Path) -> None:
    """torchvision's numbers as they stand in every tutorial gave a top-1 of 0.36 in silence."""
    with pytest.raises(ModelError) as caught:
        made(write_onnx(tmp_path / "a.onnx"), IMAGENET)
    told = str(caught.value)
    assert "input.std 0.229, 0.224, 0.225 is below one grey level" in told
    assert "mean 123.67, 116.28, 103.53 and std 58.4, 57.12, 57.38 in pixels" in told
    assert "add input.values: 0..1." in told
    assert told.endswith("add input.values: 0..255")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            {"mean": [123.7, 116.3, 103.5], "std": [0.229, 0.224, 0.225]},
            "it is 58.4, 57.12, 57.38 in",
        ),
        (
            {"values": "0..1", "mean": 127.5, "std": 127.5},
            "mean 127.5 lies outside of input.values",
        ),
        ({"values": "-1..1", "mean": [0, 0, 2], "std": 1}, "lies outside of input.values: -1..1"),
    ],
    ids=str,
)
def test_mean_and_std_of_two_scales(tmp_path: Path, said: dict[str, Any], told: str) -> None:
    with pytest.raises(ModelError, match=re.escape(told)):
        made(write_onnx(tmp_path / "a.onnx"), said)


def test_geometry_from_the_specification(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx")
    crop = made(path, {**INPUT, "fit": "crop", "resize_size": 36, "antialias": False}).input
    assert (crop.fit, crop.resize_size, crop.antialias) == ("crop", (36, 36), False)
    pad = made(path, {**INPUT, "fit": "pad", "pad_colour": [114, 114, 114]}).input
    assert (pad.fit, pad.pad_colour) == ("pad", (114,))
    last = made(path, {**INPUT, "fit": "crop", "crop": 1, "resize_last": True}).input
    assert last.resize_last
    assert made(path, {**INPUT, "fit": "squash", "antialias": True}).input == made(path).input


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"kind": "scores"}, "kind must be one of logits, probabilities, got 'scores'"),
        ({"offset": CLASSES - 1}, "offset 3 of 4 outputs"),
        ({"offset": -1}, "0 <= output.offset"),
        ({"offset": 0.5}, "must be a whole number"),
        ({"classes": 4}, "output.classes is unknown"),
    ],
)
def test_wrong_outputs(tmp_path: Path, said: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        made(write_onnx(tmp_path / "a.onnx"), INPUT, said)


def test_what_is_said_wins_over_what_a_file_seems_to_say(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx")
    assert made(path, INPUT, {"kind": "probabilities"}).output.kind == "probabilities"
    facts, fed = inspect_model(path), made(path).input
    (told,) = find_contradictions(facts, fed, {"kind": "probabilities"})
    assert told == "output.kind: probabilities is used, but the file seems to give logits"
    assert find_contradictions(facts, fed, {"kind": "logits"}) == []
    assert find_contradictions(facts, fed, {}) == []


def test_an_open_size_must_be_said(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx", size="s")
    with pytest.raises(ModelError, match=r"give input\.size"):
        made(path)
    with pytest.raises(ModelError, match="16384"):
        made(path, {**INPUT, "size": 0})
    assert made(path, {**INPUT, "size": [24, 40]}).input.size == (24, 40)


def test_a_file_that_changed_meanwhile_is_noticed(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx", size="s")
    facts = inspect_model(path)
    write_onnx(path, size="s", seed=1)
    with pytest.raises(ModelError, match="has changed"):
        make_variant(path, facts, {**INPUT, "size": 32}, {}, "m")


def test_deriving(tmp_path: Path) -> None:
    parent = made(write_onnx(tmp_path / "a.onnx"), INPUT, {"offset": 1})
    other = write_onnx(tmp_path / "b.onnx", width=2)
    child = derive_variant(other, parent, "narrow")
    assert (child.name, child.input, child.output) == ("narrow", parent.input, parent.output)
    assert child.sha256 == inspect_model(other).sha256
    with pytest.raises(ModelError, match="narrow: takes"):
        derive_variant(write_onnx(tmp_path / "c.onnx", layout="nhwc"), parent, "narrow")
