"""Image files of every kind, whole and broken."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from property_tests import examples

from trimtab_runtime.definitions.plan import InputFormat
from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.images.preprocess import Preprocessor, as_image, decode_image

RNG = np.random.default_rng(5)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (5, 7, 1), dtype=np.uint8)

TURNED = {
    1: COLOUR,
    2: np.fliplr(COLOUR),
    3: np.rot90(COLOUR, 2),
    4: np.flipud(COLOUR),
    5: COLOUR.transpose(1, 0, 2),
    6: np.rot90(COLOUR, -1),
    7: np.rot90(COLOUR, 2).transpose(1, 0, 2),
    8: np.rot90(COLOUR, 1),
}


def saved(path: Path, image: Image.Image, **options: Any) -> str:
    image.save(path, **options)
    return str(path)


@pytest.mark.parametrize("orientation", list(TURNED))
def test_exif_turns_the_image(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode_image(saved(tmp_path / "a.png", Image.fromarray(COLOUR), exif=exif))
    assert np.array_equal(np.asarray(found), TURNED[orientation])


def test_gray_stays_gray_and_fills_three_channels(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(GRAY))
    assert decode_image(path).mode == "L"
    gray = Preprocessor(path).tensor(InputFormat((5, 7), colour="gray"))
    colour = Preprocessor(path).tensor(InputFormat((5, 7)))
    assert np.array_equal(gray[0, 0], GRAY)
    assert np.array_equal(colour[0], np.stack([GRAY] * 3))


def test_black_and_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(GRAY > 127))
    assert np.array_equal(np.asarray(as_image(path).convert("L")), np.where(GRAY > 127, 255, 0))


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    index = RNG.integers(0, 4, (5, 7), dtype=np.uint8)
    palette = RNG.integers(0, 256, (4, 3), dtype=np.uint8)
    image = Image.fromarray(index).convert("P")
    image.putdata(index.ravel().tolist())
    image.putpalette(palette.ravel().tolist())
    found = decode_image(saved(tmp_path / "a.png", image))
    assert np.array_equal(np.asarray(found), palette[index])
    clear = decode_image(saved(tmp_path / "b.png", image, transparency=2))
    expected = np.where((index == 2)[..., None], 255, palette[index])
    assert np.array_equal(np.asarray(clear), expected)


@pytest.mark.parametrize("base", [COLOUR, GRAY[..., None]], ids=["RGBA", "LA"])
def test_what_is_transparent_lies_on_white(tmp_path: Path, base: Any) -> None:
    image = Image.fromarray(np.concatenate([base, ALPHA], axis=2))
    found = decode_image(saved(tmp_path / "a.png", image))
    share = ALPHA / 255.0
    expected = np.broadcast_to(base * share + 255 * (1 - share), COLOUR.shape)
    assert found.mode == "RGB"
    np.testing.assert_allclose(np.asarray(found), expected, atol=1.0)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_scaled_not_cut(tmp_path: Path, suffix: str) -> None:
    deep = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
    found = decode_image(saved(tmp_path / f"a.{suffix}", Image.fromarray(deep)))
    assert found.mode == "L"
    assert np.array_equal(np.asarray(found), deep // 256)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_sixteen_bits_in_every_mode_that_pillow_uses(mode: str) -> None:
    """Pillow before 11.3 opens a 16-bit PNG as mode I."""
    deep = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
    stored = deep.astype({"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode])
    found = as_image(Image.frombytes(mode, (7, 5), stored.tobytes()))
    assert np.array_equal(np.asarray(found), deep // 256)


def test_cmyk(tmp_path: Path) -> None:
    inks = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    found = decode_image(saved(tmp_path / "a.tiff", Image.fromarray(inks, mode="CMYK")))
    light = 255.0 - inks
    np.testing.assert_allclose(np.asarray(found), light[..., :3] * light[..., 3:] / 255, atol=1.0)


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB", "RGBa", "La", "F", "PA", "RGBX"])
def test_any_mode_of_pillow_is_an_image_or_refused(mode: str) -> None:
    try:
        found = as_image(Image.new(mode, (4, 3)))
    except WorkloadError as error:
        assert mode in str(error)
        return
    assert found.mode in ("RGB", "L")
    assert found.size == (4, 3)


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert decode_image(path).getpixel((0, 0)) == (255, 0, 0)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=r"none\.png: cannot be read as an image"):
        decode_image(str(tmp_path / "none.png"))


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="cannot be read as an image"):
        decode_image(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"just a letter", b"\x89PNG\r\n\x1a\n"])
def test_a_text_file_named_png(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(WorkloadError, match=r"a\.png: cannot be read as an image"):
        decode_image(str(tmp_path / "a.png"))


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "bmp", "tiff"])
def test_a_truncated_file(tmp_path: Path, kind: str) -> None:
    image = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole = Path(saved(tmp_path / f"a.{kind}", image)).read_bytes()
    (tmp_path / f"b.{kind}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WorkloadError, match="cannot be read as an image"):
        decode_image(str(tmp_path / f"b.{kind}"))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros(4, np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((4, 4, 3), np.int16),
        np.zeros((3, 40, 50), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_that_are_no_image(array: Any) -> None:
    with pytest.raises(WorkloadError, match="an image array must be uint8"):
        as_image(array)


def _files() -> dict[str, bytes]:
    found = {}
    for kind in ("png", "jpeg", "gif", "webp", "bmp", "tiff", "ppm"):
        buffer = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif} if kind in ("png", "jpeg", "webp", "tiff") else {}
        Image.fromarray(COLOUR).save(buffer, kind, **options)
        found[kind] = buffer.getvalue()
    return found


FILES = _files()


@examples(400)
@given(
    kind=st.sampled_from(sorted(FILES)),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_damaged_file_is_an_image_or_refused(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(FILES[kind])
    for position, value in changes:
        content[position % len(content)] = value
    path = tmp_path_factory.getbasetemp() / f"damaged.{kind}"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own, about what it found odd in the file
        try:
            found = decode_image(str(path))
        except WorkloadError:
            return
    assert found.mode in ("RGB", "L")
