"""Graphs that take images of any size and resize them themselves are fed images as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from own_size_models import write_any_size
from PIL import Image
from sample_models import texture_images, write_onnx

from trimtab.variants import (
    derive_variant,
    find_contradictions,
    inspect_model,
    make_variant,
    open_view,
    quantise_w8a8,
)
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines import create_engine
from trimtab_runtime.errors import ModelError, WorkloadError
from trimtab_runtime.formats import InputFormat
from trimtab_runtime.images.preprocess import Preprocessor

OPTIONS = RuntimeOptions("onnxruntime")


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = texture_images(4, seed)[0][0]
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def variant_of(path: Path, **said: Any) -> Variant:
    return make_variant(path, inspect_model(path), said, {}, path.stem)


@pytest.mark.parametrize("uint8", [True, False])
def test_each_image_comes_as_it_is(tmp_path: Path, uint8: bool) -> None:
    path = write_any_size(tmp_path / "any.onnx", uint8=uint8)
    view = open_view(path, tmp_path / "view")
    facts = inspect_model(view.path)
    assert (facts.input_size, facts.inner_size) == (None, (32, 32))
    variant = make_variant(view.path, facts, {}, {}, "any")
    assert (variant.input.fit, variant.input.size) == ("inside", (32, 32))
    assert find_contradictions(facts, variant.input, {}) == []
    engine = create_engine(str(view.path), variant, OPTIONS)
    session = onnxruntime.InferenceSession(str(path))
    for width, height in ((80, 40), (31, 97), (32, 32)):
        image = photo(width, height)
        found = engine.run(Preprocessor(image).tensor(variant.input))
        pixels = np.asarray(image)[None].astype(np.uint8 if uint8 else np.float32)
        assert np.array_equal(found, session.run(None, {"pixels": pixels})[0][0])


def test_a_size_that_is_said_wins_and_that_is_told(tmp_path: Path) -> None:
    path = write_any_size(tmp_path / "any.onnx")
    variant = variant_of(path, size=48)
    assert (variant.input.fit, variant.input.size) == ("squash", (48, 48))
    (told,) = find_contradictions(inspect_model(path), variant.input, {})
    assert "images are resized to 48x48 as said, but the graph itself brings images" in told
    assert variant_of(path, size=48, fit="inside").input.fit == "inside"


def test_a_network_without_a_resize_is_no_such_graph(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "open.onnx", 2, size="side")
    assert inspect_model(path).inner_size is None
    with pytest.raises(ModelError, match="leaves its input size open"):
        variant_of(path, mean=0, std=1)
    for known in (path, write_onnx(tmp_path / "fixed.onnx", 2)):
        with pytest.raises(ModelError, match="inside is for graphs that resize images of any"):
            variant_of(known, mean=0, std=1, size=32, fit="inside")


def test_its_layers_are_quantised_for_any_size(tmp_path: Path) -> None:
    path = write_any_size(tmp_path / "any.onnx")
    parent = variant_of(path)
    images = [photo(40 + 7 * seed, 60, seed) for seed in range(6)]
    quantise_w8a8(path, parent, images, tmp_path / "w8a8.onnx")
    variant = derive_variant(tmp_path / "w8a8.onnx", parent, "w8a8")
    assert variant.input.fit == "inside"
    whole = create_engine(str(path), parent, OPTIONS)
    engine = create_engine(str(tmp_path / "w8a8.onnx"), variant, OPTIONS)
    for image in images:
        tensor = Preprocessor(image).tensor(variant.input)
        assert engine.run(tensor).argmax() == whole.run(tensor).argmax()


def test_what_does_not_go_with_it_is_refused() -> None:
    for other in ({"crop": 0.9}, {"resize_size": (64, 64)}, {"resize_last": True}):
        with pytest.raises(ValueError, match="fit: inside leaves no place for"):
            InputFormat((32, 32), fit="inside", **other)


def test_an_image_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab_runtime.images.geometry.MOST_PIXELS", 5000)
    with pytest.raises(WorkloadError, match="too long for fit: inside"):
        Preprocessor(photo(100, 60)).tensor(InputFormat((32, 32), fit="inside"))
