"""One image is one picture, by whatever door it comes in."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trimtab_runtime import Plan
from trimtab_runtime.cli import main
from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.images.decoding import FORMATS, as_image, decode_image
from trimtab_runtime.images.listing import named_images

Array = Any
#: What a camera held sideways shows: the picture upright, and how its file has it.
UPRIGHT = np.random.default_rng(8).integers(0, 256, (30, 50, 3), dtype=np.uint8)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A file that is stored sideways and says so (orientation 6)."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "photo.png"
    Image.fromarray(np.rot90(UPRIGHT, 1)).save(path, exif=exif)
    return path


def opened(path: Path) -> Any:
    return io.BytesIO(path.read_bytes())


class Upload:
    """What web frameworks hand over: no path, and it cannot be told where it stands."""

    def __init__(self, path: Path) -> None:
        self._stream = io.BytesIO(path.read_bytes())

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)


DOORS: dict[str, Callable[[Path], Any]] = {
    "str": str,
    "Path": lambda path: path,
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "BytesIO": opened,
    "stream without seek": Upload,
    "Pillow, not loaded": Image.open,
    "RGB array": lambda _: UPRIGHT,
    "RGBA array": lambda _: np.dstack([UPRIGHT, np.full((30, 50), 255, np.uint8)]),
    "16-bit array": lambda _: UPRIGHT.astype(np.uint16) * 257,
    "not contiguous": lambda _: np.ascontiguousarray(UPRIGHT[:, :, ::-1])[:, :, ::-1],
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_leads_to_the_same_picture(photo: Path, door: str) -> None:
    assert np.array_equal(np.asarray(as_image(DOORS[door](photo))), UPRIGHT)


def test_an_open_file_is_read_from_its_beginning_and_stays_open(photo: Path) -> None:
    with photo.open("rb") as file:
        file.read(100)
        assert np.array_equal(np.asarray(as_image(file)), UPRIGHT)
        assert not file.closed


def test_an_image_is_turned_once(photo: Path) -> None:
    once = decode_image(photo)
    assert np.array_equal(np.asarray(as_image(once)), UPRIGHT)
    with Image.open(photo) as image:
        as_image(image)
        assert image.getexif()[0x0112] == 6  # the caller's own stays as it was
        assert np.array_equal(np.asarray(as_image(image)), UPRIGHT)


@pytest.mark.parametrize("alpha", [False, True])
def test_arrays_of_opencv(alpha: bool) -> None:
    bgr = UPRIGHT[:, :, ::-1]
    if alpha:
        bgr = np.dstack([bgr, np.full((30, 50), 255, np.uint8)])
    assert np.array_equal(np.asarray(as_image(bgr, colour="bgr")), UPRIGHT)


def test_one_channel_is_gray() -> None:
    gray = UPRIGHT[:, :, :1]
    for array in (gray, gray[:, :, 0]):
        found = as_image(array, colour="bgr")
        assert found.mode == "L"
        assert np.array_equal(np.asarray(found), gray[:, :, 0])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "got NoneType (OpenCV's imread gives None"),
        (["a.png"], "give its images one by one, or to classify_all"),
        (UPRIGHT.astype(np.float32) / 255, "floats tell no scale"),
        (UPRIGHT.transpose(2, 0, 1), "channels come last: array.transpose(1, 2, 0)"),
        (UPRIGHT[None], "give the images of a batch one by one"),
        (7, "an image is given as a path"),
        (b"", "0 bytes: cannot be read as an image"),
        (io.StringIO("text"), "cannot be read as an image"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_image_is_told_what_is_taken(given: Any, told: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        as_image(given)
    assert told in str(caught.value)


def test_only_arrays_have_a_colour(photo: Path) -> None:
    with pytest.raises(WorkloadError, match="files and Pillow images tell their own"):
        as_image(photo, colour="bgr")
    with pytest.raises(WorkloadError, match="colour must be one of rgb, bgr, got 'gray'"):
        as_image(UPRIGHT, colour="gray")


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # to open it would wait for a writer
    with pytest.raises(WorkloadError, match=r"pipe\.png: cannot .* no regular file"):
        decode_image(tmp_path / "pipe.png")


def test_a_link_to_an_image_is_one(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(photo)
    assert decode_image(tmp_path / "link.png").size == (50, 30)


def test_formats_that_run_programs_are_not_opened(tmp_path: Path) -> None:
    """EPS goes to Ghostscript, whatever the name of the file says."""
    assert "EPS" not in FORMATS
    buffer = io.BytesIO()
    Image.fromarray(UPRIGHT).save(buffer, "EPS")
    for name in ("a.eps", "a.png"):
        (tmp_path / name).write_bytes(buffer.getvalue())
        with pytest.raises(WorkloadError, match="cannot be read as an image"):
            decode_image(tmp_path / name)


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_a_plan_gives_one_answer(cascade: Path, photos: list[Path], colour: str) -> None:
    plan = Plan.load(str(cascade))
    for path in photos[:4]:
        expected = plan.classify(str(path))
        array = np.asarray(Image.open(path).convert("RGB"))
        given = array if colour == "rgb" else array[:, :, ::-1]
        found = [plan.classify(path), plan.classify(opened(path)), plan.classify(given, colour)]
        found += plan.classify_all([given], colour)
        for answer in found:
            assert answer.index == expected.index
            assert np.array_equal(answer.probabilities, expected.probabilities)


# ---- the command line -------------------------------------------------------------------------


def tree(folder: Path) -> None:
    for name in ("b.png", "a.jpg", "deep/c.PNG", ".hidden/d.png", "note.txt", ".e.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_folders_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path / "all")
    monkeypatch.chdir(tmp_path)

    def names(*arguments: str) -> list[str]:
        return [name for name, _ in named_images(arguments)]

    assert names("all") == ["all/a.jpg", "all/b.png", "all/deep/c.PNG"]
    assert names("all/*.png", "x.png") == ["all/b.png", "x.png"]
    assert names("all/**/*.PNG") == ["all/deep/c.PNG"]
    (tmp_path / "odd[1].png").write_bytes(b"")
    assert names("odd[1].png") == ["odd[1].png"]


@pytest.mark.parametrize("argument", ["empty", "*.png"])
def test_no_images_there(
    cascade: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argument: str,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(str(cascade), ["classify", argument]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {argument}: no image")
    assert ".jpg" in told


def test_standard_input(cascade: Path, photos: list[Path], tmp_path: Path) -> None:
    program = [sys.executable, str(cascade), "classify"]
    environment = {**os.environ, "TRIMTAB_CACHE": str(tmp_path / "cache")}
    run = {"capture_output": True, "check": True, "env": environment}
    piped = subprocess.run([*program, "-"], input=photos[0].read_bytes(), **run)
    named = subprocess.run([*program, str(photos[0])], **run)
    answers = [done.stdout.decode().split(" (")[0].split(": ")[1] for done in (piped, named)]
    assert answers[0] == answers[1]
    assert piped.stdout.startswith(b"-: ")
