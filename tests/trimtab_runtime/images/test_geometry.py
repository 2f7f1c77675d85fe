"""How images of any shape become an input: against the originals' own steps, written out."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.formats import InputFormat
from trimtab_runtime.images.geometry import sampled
from trimtab_runtime.images.preprocess import Preprocessor, resize_key

Array = Any
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
#: Width and height: wide, tall, square, odd, thin, smaller than any input.
SHAPES = [(160, 90), (75, 100), (64, 64), (101, 67), (200, 9), (7, 5), (33, 32)]


def photo(width: int, height: int) -> Image.Image:
    generator = np.random.default_rng([width, height])
    coarse = generator.integers(0, 256, (height // 3 + 2, width // 3 + 2, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), BICUBIC)


def pixels(image: Image.Image, fmt: InputFormat) -> Array:
    return Preprocessor(image).pixels(fmt)


def torchvision_crop(image: Image.Image, resized: int, size: int, resample: Any) -> Array:
    """transforms.Resize(resized), then CenterCrop(size), of a Pillow image."""
    width, height = image.size
    if width <= height:
        new = (resized, int(resized * height / width))
    else:
        new = (int(resized * width / height), resized)
    image = image.resize(new, resample)
    top, left = round((new[1] - size) / 2.0), round((new[0] - size) / 2.0)
    return np.asarray(image)[top : top + size, left : left + size]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("said", "resized"),
    [({"resize_size": (37, 37)}, 37), ({"crop": 0.875}, 36), ({}, 32)],
    ids=["resize_size", "crop", "neither"],
)
def test_crop_is_the_shorter_side_then_the_centre(
    shape: tuple[int, int], said: dict[str, Any], resized: int
) -> None:
    fmt = InputFormat((32, 32), resize="bicubic", fit="crop", **said)
    expected = torchvision_crop(photo(*shape), resized, 32, BICUBIC)
    assert np.array_equal(pixels(photo(*shape), fmt), expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("resized", [35, 37])
def test_a_cut_that_is_rounded_down_is_transformers(shape: tuple[int, int], resized: int) -> None:
    """center_crop: (length - size) // 2."""
    fmt = InputFormat((32, 32), fit="crop", resize_size=(resized,) * 2, cut_rounding="down")
    width, height = shape
    short = min(shape)
    image = photo(*shape).resize((resized * width // short, resized * height // short), BILINEAR)
    top, left = (image.height - 32) // 2, (image.width - 32) // 2
    expected = np.asarray(image)[top : top + 32, left : left + 32]
    assert np.array_equal(pixels(photo(*shape), fmt), expected)


def test_crop_percentage_is_timms() -> None:
    """timm: floor(input size / percentage)."""
    sizes = {0.875: 256, 0.9: 248, 0.95: 235, 0.96: 233, 1.0: 224}
    for crop, resized in sizes.items():
        assert InputFormat((224, 224), fit="crop", crop=crop).resized == (resized, resized)


def test_a_wide_photograph_keeps_its_proportions() -> None:
    """A 16:9 picture of a round thing: squashed it is an ellipse."""
    y, x = np.mgrid[:90, :160]
    disc = np.where((x - 79.5) ** 2 + (y - 44.5) ** 2 < 30**2, 255, 0).astype(np.uint8)
    image = Image.fromarray(np.dstack([disc] * 3))

    def spans(fit: str) -> tuple[int, int]:
        found = pixels(image, InputFormat((64, 64), fit=fit))[:, :, 0] > 127
        return int(found.any(0).sum()), int(found.any(1).sum())

    width, height = spans("squash")
    assert (width, height) == (24, 42)
    assert abs(spans("crop")[0] - spans("crop")[1]) <= 1
    assert abs(spans("pad")[0] - spans("pad")[1]) <= 1


@pytest.mark.parametrize("shape", SHAPES)
def test_crop_of_an_input_that_is_no_square(shape: tuple[int, int]) -> None:
    """timm's ResizeKeepRatio covers the size, rounding both sides."""
    image = photo(*shape)
    ratio = min(image.height / 24, image.width / 40)
    height, width = round(image.height / ratio), round(image.width / ratio)
    whole = np.asarray(image.resize((width, height), BILINEAR))
    top, left = round((height - 24) / 2), round((width - 40) / 2)
    found = pixels(image, InputFormat((24, 40), fit="crop"))
    assert np.array_equal(found, whole[top : top + 24, left : left + 40])


@pytest.mark.parametrize("shape", SHAPES)
def test_pad_is_a_letterbox(shape: tuple[int, int]) -> None:
    """Ultralytics' LetterBox with its rounding, resized by Pillow here."""
    image = photo(*shape)
    ratio = min(32 / image.height, 32 / image.width)
    width = max(round(image.width * ratio), 1)
    height = max(round(image.height * ratio), 1)
    across, down = (32 - width) / 2, (32 - height) / 2
    top, left = round(down - 0.1), round(across - 0.1)
    expected = np.full((32, 32, 3), 114, np.uint8)
    inner = np.asarray(image.resize((width, height), BILINEAR))
    expected[top : top + height, left : left + width] = inner
    found = pixels(image, InputFormat((32, 32), fit="pad", pad_colour=(114,)))
    assert np.array_equal(found, expected)


def test_colours_of_padding() -> None:
    image = photo(60, 20)
    fmt = InputFormat((9, 9), fit="pad", pad_colour=(10, 20, 30), layout="nhwc")
    assert Preprocessor(image).tensor(fmt)[0, 0, 0].tolist() == [10, 20, 30]
    bgr = dataclasses.replace(fmt, colour="bgr")
    assert Preprocessor(image).tensor(bgr)[0, 0, 0].tolist() == [30, 20, 10]
    gray = dataclasses.replace(fmt, colour="gray", pad_colour=(7,))
    assert Preprocessor(image).tensor(gray)[0, 0, 0].tolist() == [7]


def test_pad_beyond_the_input_is_cut() -> None:
    """timm's border mode with a percentage: the longer side is larger than the input."""
    image = photo(80, 40)
    found = pixels(image, InputFormat((32, 32), fit="pad", crop=0.8, pad_colour=(9,)))
    inner = np.asarray(image.resize((40, 20), BILINEAR))[:, 4:36]
    assert np.array_equal(found[6:26], inner)
    assert (found[:6] == 9).all()
    assert (found[26:] == 9).all()


def test_squash_and_cut() -> None:
    """timm's squash mode: both sides to the larger size, then the centre."""
    image = photo(160, 90)
    expected = np.asarray(image.resize((36, 36), BILINEAR))[2:34, 2:34]
    found = pixels(image, InputFormat((32, 32), resize_size=(36, 36)))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_resize_last_cuts_as_keras_does(shape: tuple[int, int]) -> None:
    """keras' load_img(keep_aspect_ratio=True), which gives Pillow a box; and smart_resize, which
    resizes what it has cut."""
    image = photo(*shape)
    width, height = image.size
    w = max(min(width, int(float(height * 40) / 24)), 1)
    h = max(min(height, int(float(width * 24) / 40)), 1)
    left, top = int((width - w) / 2), int((height - h) / 2)
    box = (left, top, left + w, top + h)
    fmt = InputFormat((24, 40), fit="crop", resize_last=True)
    expected = np.asarray(image.resize((40, 24), BILINEAR, box=box))
    assert np.array_equal(pixels(image, fmt), expected)
    fmt = dataclasses.replace(fmt, antialias=False)
    assert np.array_equal(
        pixels(image, fmt), pixels(image.crop(box), InputFormat((24, 40), antialias=False))
    )


def test_resize_last_pads_as_keras_does() -> None:
    image = photo(100, 51)
    framed = ImageOps.expand(image, (0, 24, 0, 24), (1, 2, 3))
    fmt = InputFormat((32, 32), fit="pad", resize_last=True, pad_colour=(1, 2, 3))
    assert np.array_equal(pixels(image, fmt), np.asarray(framed.resize((32, 32), BILINEAR)))


@pytest.mark.parametrize("shape", SHAPES)
def test_bilinear_without_antialiasing_reads_four_pixels(shape: tuple[int, int]) -> None:
    """The definition, pixel by pixel: half-pixel centres, edges repeated."""
    image = np.asarray(photo(*shape)).astype(np.float64)
    rows, columns = image.shape[:2]
    expected = np.empty((11, 13, 3))
    for i in range(11):
        y = min(max((i + 0.5) * rows / 11 - 0.5, 0), rows - 1)
        for j in range(13):
            x = min(max((j + 0.5) * columns / 13 - 0.5, 0), columns - 1)
            top, left = int(y), int(x)
            low, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            a, b = y - top, x - left
            upper = image[top, left] * (1 - b) + image[top, right] * b
            lower = image[low, left] * (1 - b) + image[low, right] * b
            expected[i, j] = upper * (1 - a) + lower * a
    found = pixels(photo(*shape), InputFormat((11, 13), antialias=False))
    assert np.abs(found - expected).max() <= 0.501


@pytest.mark.parametrize("resize", ["bilinear", "bicubic"])
def test_it_is_what_opencv_and_torch_sample(resize: str) -> None:
    cv2, torch = pytest.importorskip("cv2"), pytest.importorskip("torch")
    image = np.asarray(photo(150, 100))
    found = sampled(image, (32, 48), resize, (0, 0, 150, 100)).astype(int)
    flag = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[resize]
    assert np.abs(cv2.resize(image, (48, 32), interpolation=flag) - found).max() <= 1
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    other = torch.nn.functional.interpolate(tensor, (32, 48), mode=resize, align_corners=False)
    rounded = other.round().clip(0, 255)[0].permute(1, 2, 0).numpy()
    assert np.abs(rounded - found).max() <= 1


@pytest.mark.parametrize("resize", ["nearest", "bilinear", "bicubic"])
def test_an_image_of_the_right_size_is_taken_as_it_is(resize: str) -> None:
    image = photo(32, 32)
    for said in ({}, {"fit": "crop"}, {"fit": "pad"}, {"fit": "crop", "resize_last": True}):
        for antialias in (True, False):
            fmt = InputFormat((32, 32), resize=resize, antialias=antialias, **said)
            assert np.array_equal(pixels(image, fmt), np.asarray(image))


CROPPED = InputFormat((32, 32), fit="crop", resize_size=(40, 40))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (CROPPED, dataclasses.replace(CROPPED, size=(24, 40))),
        (CROPPED, InputFormat((32, 32), fit="crop", crop=0.8)),
        (CROPPED, InputFormat((40, 40), fit="crop", colour="bgr")),
        (InputFormat((32, 32)), InputFormat((24, 24), resize_size=(32, 32))),
        (InputFormat((32, 32), fit="pad"), InputFormat((32, 32), fit="pad", pad_colour=(9,))),
    ],
)
def test_what_is_cut_or_framed_otherwise_shares_the_resize(
    monkeypatch: pytest.MonkeyPatch, one: InputFormat, other: InputFormat
) -> None:
    assert resize_key(one) == resize_key(other)
    image, resizes = photo(160, 90), 0
    resize = Image.Image.resize

    def counted(*arguments: Any, **options: Any) -> Image.Image:
        nonlocal resizes
        resizes += 1
        return resize(*arguments, **options)

    alone = pixels(image, other)
    monkeypatch.setattr(Image.Image, "resize", counted)
    prepared = Preprocessor(image)
    prepared.pixels(one)
    assert np.array_equal(prepared.pixels(other), alone)
    assert resizes == 1


@pytest.mark.parametrize(
    "change",
    [
        {"fit": "pad"},
        {"fit": "squash"},
        {"resize_size": (41, 41)},
        {"antialias": False},
        {"resize_size": None, "resize_last": True},
        {"resize": "bicubic"},
    ],
    ids=str,
)
def test_what_is_resized_otherwise_does_not(change: dict[str, Any]) -> None:
    other, image = dataclasses.replace(CROPPED, **change), photo(160, 90)
    assert resize_key(CROPPED) != resize_key(other)
    prepared = Preprocessor(image)
    before = prepared.pixels(CROPPED).copy()
    assert np.array_equal(prepared.pixels(other), pixels(image, other))
    assert np.array_equal(prepared.pixels(CROPPED), before)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"fit": "stretch"}, "fit must be one of squash, crop, pad"),
        ({"resize_size": (40, 40), "crop": 0.9}, "either resize_size or crop"),
        ({"fit": "crop", "resize_size": (40, 40), "resize_last": True}, "or resize_last"),
        ({"fit": "crop", "resize_size": (40, 30)}, "resize_size >= size must hold"),
        ({"resize_last": True}, "resize_last is for fit: crop"),
        ({"fit": "pad", "crop": 0.9, "resize_last": True}, "resize_last is for"),
        ({"pad_colour": (1,)}, "pad_colour is for fit: pad"),
        ({"fit": "pad", "pad_colour": (1, 2)}, "pad_colour needs 1 or 3 values"),
        ({"fit": "pad", "pad_colour": (256,)}, "0 <= pad_colour <= 255"),
        ({"resize": "lanczos", "antialias": False}, "antialias: false is for nearest, bilinear"),
        ({"fit": "crop", "crop": 1e-4}, "1 <= resize_size <= 16384"),
        ({"fit": "pad", "resize_size": (0, 9)}, "1 <= resize_size <= 16384"),
    ],
    ids=str,
)
def test_what_does_not_go_together(said: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError) as caught:
        InputFormat((32, 32), **said)
    assert told in str(caught.value)


def test_a_strip_that_would_fill_the_memory_is_refused() -> None:
    strip = Image.new("RGB", (20000, 2))
    with pytest.raises(WorkloadError, match="20000x2 is too long for fit: crop"):
        pixels(strip, InputFormat((224, 224), fit="crop"))
    assert pixels(strip, InputFormat((224, 224), fit="pad")).shape == (224, 224, 3)
    with pytest.raises(WorkloadError, match="20000x2 is too long for fit: pad"):
        pixels(strip, InputFormat((224, 224), fit="pad", resize_last=True))
