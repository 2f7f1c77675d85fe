"""Samples of more than 8 bits: scaled by what the file declares, or refused; never black."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.images.decoding import as_image, decode_image

Array = Any
GRAY = np.random.default_rng(4).integers(0, 256, (12, 10), dtype=np.uint8)
MAX_SAMPLE_VALUE, S_MAX_SAMPLE_VALUE = 281, 341


def tiff(path: Path, values: Array, **tags: Any) -> Path:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for number, value in tags.items():
        info[int(number.lstrip("t"))] = value
    Image.fromarray(values).save(path, tiffinfo=info)
    return path


def png_of_12_bits(path: Path) -> Path:
    """A microscope's: 12 bits in a file of 16 that does not say so."""
    Image.fromarray(GRAY.astype(np.uint16) * 16).save(path)
    return path


def test_twelve_bits_that_pass_for_sixteen_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        WorkloadError, match=r"16-bit samples end at 40\d\d: they are of fewer bits"
    ):
        decode_image(png_of_12_bits(tmp_path / "a.png"))


def test_and_in_colour(tmp_path: Path) -> None:
    """Pillow keeps the upper byte of 16-bit colours: 12 bits would be levels 0 to 15."""
    cv2 = pytest.importorskip("cv2")
    for factor, name in ((16, "shallow.png"), (257, "deep.png")):
        colour = np.dstack([GRAY] * 3).astype(np.uint16) * factor
        assert cv2.imwrite(str(tmp_path / name), colour)
    with pytest.raises(WorkloadError, match="they are of fewer bits"):
        decode_image(tmp_path / "shallow.png")
    assert np.array_equal(np.asarray(decode_image(tmp_path / "deep.png"))[:, :, 0], GRAY)


def test_a_declared_largest_value_scales(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", GRAY.astype(np.uint16) * 16, t281=4095)
    assert np.array_equal(np.asarray(decode_image(path)), GRAY)


def test_a_pgm_declares_its_largest_value(tmp_path: Path) -> None:
    values = (GRAY.astype(np.uint16) * 16).astype(">u2")
    header = b"P5 10 12 4095\n"
    (tmp_path / "a.pgm").write_bytes(header + values.tobytes())
    found = np.asarray(decode_image(tmp_path / "a.pgm")).astype(int)
    assert np.abs(found - GRAY).max() <= 1


def test_floats_without_a_scale_are_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", GRAY.astype(np.float32) / 255)
    with pytest.raises(WorkloadError, match=r"a\.tif: its float samples have no scale"):
        decode_image(path)


@pytest.mark.parametrize("largest", [1.0, 1023.0])
def test_floats_with_a_declared_scale(tmp_path: Path, largest: float) -> None:
    values = GRAY.astype(np.float32) / 255 * largest
    path = tiff(tmp_path / "a.tif", values, t341=largest)
    assert np.abs(np.asarray(decode_image(path)).astype(int) - GRAY).max() <= 1


def test_thirty_two_bits(tmp_path: Path) -> None:
    values = GRAY.astype(np.int32)
    with pytest.raises(WorkloadError, match="its 32-bit samples have no scale"):
        decode_image(tiff(tmp_path / "a.tif", values))
    path = tiff(tmp_path / "b.tif", values * 1024, t341=2**18 - 1)
    assert np.array_equal(np.asarray(decode_image(path)), GRAY)


def test_the_largest_value_of_a_picture_is_no_scale(tmp_path: Path) -> None:
    """TIFF's MaxSampleValue may be a statistic: to go by it would light up a dark picture."""
    dark = GRAY.astype(np.uint16) * 64
    path = tiff(tmp_path / "a.tif", dark, t281=int(dark.max()))
    assert np.array_equal(np.asarray(decode_image(path)), GRAY // 4)
    floats = tiff(tmp_path / "b.tif", GRAY.astype(np.float32), t341=float(GRAY.max()) - 0.5)
    with pytest.raises(WorkloadError, match="declares no full one"):
        decode_image(floats)


@pytest.mark.parametrize("values", [GRAY.astype(np.int32) - 5, GRAY.astype(np.int32) * 1000])
def test_values_beyond_the_scale_are_refused(values: Array) -> None:
    with pytest.raises(WorkloadError, match="outside of the declared 0 to 65535"):
        as_image(Image.fromarray(values))


def test_a_black_frame_is_black() -> None:
    black = np.zeros((4, 5), np.uint16)
    assert not np.asarray(as_image(black)).any()
    assert not np.asarray(as_image(Image.fromarray(black))).any()


def test_an_array_of_sixteen_bits() -> None:
    assert np.array_equal(np.asarray(as_image(GRAY.astype(np.uint16) * 257)), GRAY)
    with pytest.raises(WorkloadError, match="they are of fewer bits"):
        as_image(GRAY.astype(np.uint16) * 16)


def test_white_is_zero(tmp_path: Path) -> None:
    """The tag counts for 8 bits and for 16 alike."""
    path = tiff(tmp_path / "a.tif", 65535 - GRAY.astype(np.uint16) * 257)
    content = bytearray(path.read_bytes())
    entry = content.index((262).to_bytes(2, "little") + (3).to_bytes(2, "little"))
    content[entry + 8] = 0
    found = as_image(io.BytesIO(content))
    assert np.array_equal(np.asarray(found), GRAY)
