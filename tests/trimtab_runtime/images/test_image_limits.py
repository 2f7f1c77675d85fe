"""Files that are called images: what is opened, and how much of it is decoded."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.images import decoding
from trimtab_runtime.images.decoding import as_image, decode_image
from trimtab_runtime.images.listing import named_images

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n/x 1 def\n%%EOF\n"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit that a small picture reaches."""
    monkeypatch.setattr(decoding, "MAX_PIXELS", 64 * 64)
    return 64 * 64


@pytest.mark.parametrize("content", [EPS, b"%PDF-1.7\n", b"icns\0\0\0\x10", b""])
def test_other_formats_are_not_opened_whatever_they_are_called(
    tmp_path: Path, content: bytes
) -> None:
    Image.init()  # somebody else in this process knows all formats
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    with pytest.raises(WorkloadError, match=r"photo\.png: .*none of JPEG, PNG"):
        decode_image(path)
    with pytest.raises(WorkloadError, match="none of JPEG, PNG"):
        as_image(content)


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "zero.png"):
        with pytest.raises(WorkloadError, match="it is no regular file"):
            decode_image(tmp_path / name)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF"])
def test_too_many_pixels_are_refused_by_name(tmp_path: Path, few: int, kind: str) -> None:
    path = tmp_path / "large.png"
    Image.new("L", (65, 64)).save(path, kind)
    with pytest.raises(WorkloadError, match=r"large\.png: it has 65 x 64 pixels"):
        decode_image(path)
    Image.new("L", (64, 64)).save(path, kind)
    assert decode_image(path).size == (64, 64)


@pytest.mark.parametrize("size", [(65, 65), (129, 33), (67, 900), (509, 512)])
def test_a_large_jpeg_of_any_size_is_read_smaller(
    tmp_path: Path, few: int, size: tuple[int, int]
) -> None:
    path = tmp_path / "large.jpg"
    Image.new("L", size).save(path)
    found = decode_image(path).size
    assert found in [(-(-size[0] // n), -(-size[1] // n)) for n in (2, 4, 8)]
    assert found[0] * found[1] <= few


def test_a_large_jpeg_is_read_smaller(tmp_path: Path, few: int) -> None:
    path, shade = tmp_path / "large.jpg", np.linspace(0, 255, 200, dtype=np.uint8)
    whole = Image.fromarray(np.tile(shade, (100, 1)))
    whole.save(path, "JPEG", quality=95)
    found = decode_image(path)
    assert found.size == (50, 25)
    expected = np.asarray(whole.resize((50, 25), Image.Resampling.BOX), int)
    assert np.abs(np.asarray(found, int) - expected).max() <= 8
    Image.new("L", (2000, 2000)).save(path, "JPEG")
    with pytest.raises(WorkloadError, match="it has 2000 x 2000 pixels"):
        decode_image(path)


def test_what_pillow_would_warn_of_or_refuse_is_ours_to_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (64, 64)).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(tmp_path / "a.png").size == (64, 64)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_strips_make_the_same_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    rng = np.random.default_rng(0)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (40, 30)).astype(np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (40, 30, 4), np.uint8)).convert(
            "RGB" if mode == "P" else mode
        )
    options = {}
    if mode == "P":
        image, options = image.convert("P"), {"transparency": 3}
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    whole = np.asarray(as_image(buffer.getvalue()))
    monkeypatch.setattr(decoding, "_STRIP", 100)
    assert np.array_equal(np.asarray(as_image(buffer.getvalue())), whole)


def test_links_are_not_followed_by_folders_and_patterns(tmp_path: Path) -> None:
    for level in range(25):
        place = tmp_path / f"d{level}"
        place.mkdir()
        for name in "ab":
            (place / name).symlink_to(tmp_path / f"d{level + 1}")
    (tmp_path / "d25").mkdir()
    deep = tmp_path / "d25" / "deep" / "er"
    deep.mkdir(parents=True)
    Image.new("L", (2, 2)).save(deep / "end.png")
    for argument in (f"{tmp_path}", f"{tmp_path}/**/*.png", f"{tmp_path}/**/er/e*.png"):
        assert [path for _, path in named_images([argument])] == [str(deep / "end.png")]
    with pytest.raises(WorkloadError, match="no image matches"):
        named_images([f"{tmp_path}/**/other/*.png"])
