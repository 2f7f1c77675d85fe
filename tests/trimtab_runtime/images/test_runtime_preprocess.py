"""Input tensors against a plain float64 reference, and what stages share."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from property_tests import examples

from trimtab_runtime.definitions import plan as definition
from trimtab_runtime.definitions.plan import InputFormat, Quantisation
from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.images.preprocess import Preprocessor, resize_key

Array = np.ndarray[Any, np.dtype[Any]]


#: Types of inputs that are not quantised, and how near they come to the definition (relative).
REAL = {"float32": 1e-5, "float16": 1e-3}


def picture(seed: int, height: int = 40, width: int = 60) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def reference(pixels: Array, fmt: InputFormat) -> Array:
    """The definition of InputFormat, one step after the other, in float64."""
    image = Image.fromarray(pixels)
    if fmt.colour == "gray":
        image = image.convert("L")
    width, height = image.size
    left, top = width * (1 - fmt.crop) / 2, height * (1 - fmt.crop) / 2
    box = (left, top, width - left, height - top)
    resample = Image.Resampling[fmt.resize.upper()]
    values = np.array(image.resize(fmt.size[::-1], resample, box=box), np.float64)
    values = values.reshape(*fmt.size, fmt.channels)
    if fmt.colour == "bgr":
        values = values[:, :, [2, 1, 0]]
    plain = set(fmt.mean) == {0.0} and set(fmt.std) == {1.0}
    if fmt.dtype == "int8" and plain:
        values = values - 128
    elif fmt.dtype in REAL or not plain:
        values = (values - np.array(fmt.mean)) / np.array(fmt.std)
    if fmt.quantisation is not None and not plain:
        values = values / fmt.quantisation.scale + fmt.quantisation.zero_point
        low, high = (0, 255) if fmt.dtype == "uint8" else (-128, 127)
        values = np.clip(np.round(values), low, high)
    if fmt.layout == "nchw":
        values = np.moveaxis(values, 2, 0)
    return values[None]


@st.composite
def formats(draw: st.DrawFn) -> InputFormat:
    colour = draw(st.sampled_from(definition.COLOURS))
    dtype = draw(st.sampled_from(definition.DTYPES))
    count = draw(st.sampled_from([1] if colour == "gray" else [1, 3]))
    plain = dtype not in REAL and draw(st.booleans())
    each = {"min_size": count, "max_size": count}
    scale = Quantisation(draw(st.floats(0.004, 0.1)), draw(st.integers(-10, 10)))
    return InputFormat(
        size=draw(st.tuples(st.integers(1, 50), st.integers(1, 50))),
        resize=draw(st.sampled_from(definition.RESIZE_FILTERS)),
        mean=tuple([0.0] * count if plain else draw(st.lists(st.floats(0, 255), **each))),
        std=tuple([1.0] * count if plain else draw(st.lists(st.floats(1, 255), **each))),
        layout=draw(st.sampled_from(definition.LAYOUTS)),
        dtype=dtype,
        colour=colour,
        crop=draw(st.sampled_from([1.0, 0.5, 0.75])),
        quantisation=None if dtype in REAL or (plain and draw(st.booleans())) else scale,
    )


@examples(120)
@given(fmt=formats(), seed=st.integers(0, 3))
def test_tensors_are_what_the_format_says(fmt: InputFormat, seed: int) -> None:
    pixels = picture(seed)
    found, expected = Preprocessor(pixels).tensor(fmt), reference(pixels, fmt)
    assert found.dtype == fmt.dtype
    assert found.shape == expected.shape
    assert found.flags.c_contiguous
    if fmt.dtype in REAL:
        np.testing.assert_allclose(found, expected, rtol=REAL[fmt.dtype], atol=1e-4)
    else:  # float32 may round the other way where the quotient is halfway between two steps
        difference = np.abs(found.astype(np.float64) - expected)
        assert difference.max() <= 1
        assert (difference > 0).mean() <= 0.02


@pytest.mark.parametrize(
    ("dtype", "expected"), [("uint8", [0, 1, 127, 128, 255]), ("int8", [-128, -127, -1, 0, 127])]
)
@pytest.mark.parametrize("count", [1, 3])
def test_integer_inputs_without_normalisation_take_the_pixel(
    dtype: str, expected: list[int], count: int
) -> None:
    pixels = np.repeat(np.array([[0, 1, 127, 128, 255]], np.uint8)[..., None], 3, axis=2)
    fmt = InputFormat((1, 5), mean=(0.0,) * count, std=(1.0,) * count, layout="nhwc", dtype=dtype)
    for quantisation in (None, Quantisation(1 / 127.5, 127)):
        chosen = dataclasses.replace(fmt, quantisation=quantisation)
        assert Preprocessor(pixels).tensor(chosen)[0, 0, :, 0].tolist() == expected


def test_a_normalised_integer_input_needs_a_quantisation() -> None:
    fmt = InputFormat((4, 4), mean=(127.0,), dtype="int8")
    with pytest.raises(WorkloadError, match="int8 input with mean and std needs a quantisation"):
        Preprocessor(picture(0)).tensor(fmt)


def test_quantised_values_saturate() -> None:
    pixels = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    fmt = InputFormat((1, 2), mean=(128.0,), dtype="int8", quantisation=Quantisation(0.1, 5))
    assert Preprocessor(pixels).tensor(fmt)[0, 0].tolist() == [[-128, 127]]


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    pixels = picture(1, 8, 8)
    fmt = InputFormat((8, 8), resize="lanczos", layout="nhwc", dtype="uint8")
    assert np.array_equal(Preprocessor(pixels).tensor(fmt)[0], pixels)


@pytest.mark.parametrize("resize", definition.RESIZE_FILTERS)
def test_the_crop_is_the_centre(resize: str) -> None:
    pixels = picture(1)
    fmt = InputFormat((20, 30), resize=resize, crop=0.5, layout="nhwc", dtype="uint8")
    assert np.array_equal(Preprocessor(pixels).tensor(fmt)[0], pixels[10:30, 15:45])


SAME = InputFormat((16, 24), resize="bicubic", crop=0.9, mean=(127.0,), std=(128.0,))


@pytest.mark.parametrize(
    "change",
    [{"mean": (0.0,)}, {"std": (1.0,)}, {"layout": "nhwc"}, {"colour": "bgr"}, {"dtype": "uint8"}],
    ids=str,
)
def test_formats_that_resize_alike_share_the_pixels(change: dict[str, Any]) -> None:
    other = dataclasses.replace(SAME, **change)
    image = Preprocessor(picture(2))
    assert image.pixels(SAME) is image.pixels(other)
    assert resize_key(SAME) == resize_key(other)


@pytest.mark.parametrize(
    "change", [{"size": (24, 16)}, {"resize": "box"}, {"crop": 1.0}, {"colour": "gray"}], ids=str
)
def test_formats_that_resize_otherwise_do_not(change: dict[str, Any]) -> None:
    other = dataclasses.replace(SAME, **change)
    image = Preprocessor(picture(2))
    before = image.pixels(SAME).copy()
    assert image.pixels(SAME) is not image.pixels(other)
    assert resize_key(SAME) != resize_key(other)
    assert np.array_equal(image.pixels(SAME), before)


def test_equal_formats_share_the_tensor_and_leave_the_pixels_alone() -> None:
    image, equal = Preprocessor(picture(3)), dataclasses.replace(SAME)
    before = image.pixels(SAME).copy()
    assert image.tensor(SAME) is image.tensor(equal)
    assert image.tensor(SAME) is not image.tensor(dataclasses.replace(SAME, mean=(1.0,)))
    assert np.array_equal(image.pixels(SAME), before)


def test_a_thumbnail_is_the_mean_of_its_parts() -> None:
    pixels = picture(3, 64, 32)
    found = Preprocessor(pixels).thumbnail()
    expected = pixels.reshape(8, 8, 8, 4, 3).mean(axis=(1, 3))
    assert (found.shape, found.dtype) == ((192,), np.float32)
    assert np.abs(found.reshape(8, 8, 3) - expected).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (128, 129), (3000, 40)])
def test_a_thumbnail_of_any_size(size: tuple[int, int]) -> None:
    pixels = np.full((*size, 3), (10, 20, 30), np.uint8)
    prepared = Preprocessor(pixels)
    assert (prepared.thumbnail().reshape(-1, 3) == (10, 20, 30)).all()
    assert prepared.thumbnail() is prepared.thumbnail()
    assert (Preprocessor(pixels[:, :, 0]).thumbnail() == 10).all()


def test_a_large_image_gives_nearly_the_thumbnail_of_all_its_pixels() -> None:
    y, x = np.mgrid[:720, :1280]
    pixels = np.stack([x / 5, y / 3, (x + y) / 8], -1).astype(np.uint8)
    whole = Image.fromarray(pixels).resize((8, 8), Image.Resampling.BOX)
    expected = np.asarray(whole, np.float32).reshape(-1)
    assert np.abs(Preprocessor(pixels).thumbnail() - expected).max() <= 1
