"""Images, tables and folders that are not what they seem, as jobs and as devices read them."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks._options import ROOT
from benchmarks.hostile.cases import PROGRAM, Attempt, Case, Harmed
from trimtab.workloads import checked_images, read_workload
from trimtab_runtime.images.decoding import MAX_PIXELS, decode_image
from trimtab_runtime.images.listing import named_images

_BUNDLE = ROOT / "tests" / "trimtab_runtime" / "fixtures" / "protocol_2.pyz"
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
_EACH = 4
_UNKNOWN, _LARGE = "cannot identify it: none of JPEG, PNG", "at most 67 million are read"
_IRREGULAR = "it is no regular file"
_BROKEN = r"cannot be read as an image \((image file is truncated|could not create decoder|"
_BROKEN += "cannot identify it|broken data stream)"
#: Of a picture with altered bytes; its scale may be gone, or its size another.
_ODD = f"cannot be read as an image|{_LARGE}|samples"


def cases(seed: int) -> Iterator[Case]:
    """Rows by hand, then images cut and altered at random, in each format."""
    for name, (write, refused) in _WRITTEN.items():
        yield Case(name, partial(_read, write), refused)
        if name != "folder":  # one without images is a wrong argument
            yield Case(f"{name}: by a bundle", partial(_classified, write))
    for name, make in _FOLDERS.items():
        yield Case(f"folder: {name}", partial(_folder, make), _NO_FOLDERS.get(name, ""))
        yield Case(f"folder: {name}: by a bundle", partial(_listed, make))
    for name, (text, refused) in _TABLES.items():
        yield Case(f"table: {name}", partial(_table, text), refused)
    yield Case("table: pipe", _piped_table, "it is no regular file")
    for kind in _FORMATS:
        for number in range(_EACH):
            yield Case(f"{kind} cut {number}", partial(_cut, kind), _BROKEN)
            yield Case(f"{kind} altered {number}", partial(_altered, kind), _ODD, either=True)


def _picture(kind: str, size: tuple[int, int] = (64, 48), mode: str = "RGB") -> bytes:
    rng, buffer = np.random.default_rng(0), io.BytesIO()
    shape = size[::-1] if mode == "L" else (*size[::-1], 3)
    pixels = rng.integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def _read(write: Callable[[Path], Any], attempt: Attempt) -> None:
    path = attempt.folder / "photo.png"
    write(path)
    image = decode_image(path)
    if image.size[0] * image.size[1] > MAX_PIXELS:
        raise Harmed(f"it was read at {image.size}")


def _classified(write: Callable[[Path], Any], attempt: Attempt) -> None:
    """A device must answer the image behind it."""
    write(attempt.folder / "photo.png")
    (attempt.folder / "good.png").write_bytes(_picture("PNG"))
    call = [*PROGRAM, str(_BUNDLE), "classify", "photo.png", "good.png", "--json"]
    done = attempt.command(call, limit_s=100.0)
    if '"image": "good.png", "label"' not in done.output:
        raise Harmed(f"the next image was not answered: {done.output[-200:]}")


def _folder(make: Callable[[Path], Any], attempt: Attempt) -> None:
    photos = attempt.folder / "photos"
    _good_folder(photos)
    make(photos)
    found = checked_images(read_workload(photos), unreadable=0.5)
    if len(found) < 8:
        raise Harmed(f"of 8 good images {len(found)} were found")


def _listed(make: Callable[[Path], Any], attempt: Attempt) -> None:
    photos = attempt.folder / "photos"
    _good_folder(photos)
    make(photos)
    for arguments in ([str(photos)], [f"{photos}/**/*.png"]):
        found = named_images(arguments)
        if not 8 <= len(found) < 1000:
            raise Harmed(f"of 8 good images {len(found)} were found")


def _good_folder(photos: Path) -> None:
    for number in range(8):
        place = photos / f"class{number % 2}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(place)


def _table(text: bytes, attempt: Attempt) -> None:
    photos = attempt.folder / "photos"
    _good_folder(photos)
    (photos / "labels.csv").write_bytes(text)
    read_workload(photos)


def _piped_table(attempt: Attempt) -> None:
    photos = attempt.folder / "photos"
    _good_folder(photos)
    os.mkfifo(photos / "labels.csv")
    read_workload(photos)


def _cut(kind: str, attempt: Attempt) -> None:
    content = _picture(kind)
    path = attempt.folder / f"photo.{kind.lower()}"
    path.write_bytes(content[: int(attempt.rng.integers(0, len(content)))])
    decode_image(path)


def _altered(kind: str, attempt: Attempt) -> None:
    content = bytearray(_picture(kind))
    beginning = min(len(content), 400)
    for place in attempt.rng.integers(0, beginning, 12):
        content[place] = int(attempt.rng.integers(0, 256))
    path = attempt.folder / f"photo.{kind.lower()}"
    path.write_bytes(content)
    decode_image(path)


def _png(width: int, height: int, path: Path) -> None:
    """A sound gray PNG of one colour, which is small however large it is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    packing, row = zlib.compressobj(9), bytes(width + 1)
    rows = b"".join(packing.compress(row) for _ in range(height)) + packing.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)


def _header_alone(width: int, height: int, path: Path) -> None:
    _png(1, 1, path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    path.write_bytes(content)


def _large_jpeg(path: Path) -> None:
    """120 million pixels: read at half its sides."""
    Image.new("L", (12000, 10000), 128).save(path, "JPEG")


def _animation(path: Path) -> None:
    frames = [Image.new("P", (64, 64), number % 256) for number in range(500)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


def _bytes(content: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(content)


_EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/owned) (w) file closefile\n%%EOF\n"
#: What is called photo.png, and by which rule it is refused.
_WRITTEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "pipe": (os.mkfifo, _IRREGULAR),
    "link to /dev/zero": (lambda path: path.symlink_to("/dev/zero"), _IRREGULAR),
    "link to itself": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "folder": (lambda path: path.mkdir(), _IRREGULAR),
    "empty": (_bytes(b""), _UNKNOWN),
    "EPS": (_bytes(_EPS), _UNKNOWN),
    "PDF": (_bytes(b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n"), _UNKNOWN),
    "SVG": (_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>"), _UNKNOWN),
    "FITS": (_bytes(b"SIMPLE  =                    T" + b" " * 2850), _UNKNOWN),
    "ICNS": (_bytes(b"icns\0\0\0\x10ic07\0\0\0\x08"), _UNKNOWN),
    "PNG of 177 million pixels": (partial(_png, 13300, 13300), _LARGE),
    "PNG of 100 million pixels": (partial(_png, 10000, 10000), _LARGE),
    "header of 2**31 pixels a side": (partial(_header_alone, 2**31 - 1, 2**31 - 1), _LARGE),
    "header of 60000 pixels a side": (partial(_header_alone, 60000, 60000), _LARGE),
    "JPEG of 120 million pixels": (_large_jpeg, ""),
    "500 frames": (_animation, ""),
    "GIF called PNG": (_bytes(_picture("GIF")), ""),
    "text": (_bytes(b"no image " * 10000), _UNKNOWN),
}


def _doubling(photos: Path) -> None:
    for level in range(30):
        place = photos / "links" / f"d{level}"
        place.mkdir(parents=True)
        for name in "ab":
            (place / name).symlink_to(photos / "links" / f"d{level + 1}")
    (photos / "links" / "d30").mkdir()
    (photos / "links" / "d30" / "end.png").write_bytes(_picture("PNG"))


def _deep(photos: Path) -> None:
    before = os.getcwd()
    try:
        os.chdir(photos)
        for _ in range(1200):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(before)


def _odd_names(photos: Path) -> None:
    for name in (b"\xff\xfe.png", b"new\nline.png", b"\x1b[2J.png", b"-rf.png", b"$(touch x).png"):
        place = os.fsencode(photos) + b"/class0/" + name
        with open(place, "wb") as file:
            file.write(_picture("PNG"))


#: What lies among eight good images.
_FOLDERS: dict[str, Callable[[Path], Any]] = {
    "links that double": _doubling,
    "link to itself": lambda photos: (photos / "class0" / "me").symlink_to(photos),
    "link to the root": lambda photos: (photos / "class0" / "proc").symlink_to("/proc/self/task"),
    "1200 deep": _deep,
    "pipe": lambda photos: os.mkfifo(photos / "class0" / "pipe.png"),
    "device": lambda photos: (photos / "class0" / "zero.png").symlink_to("/dev/zero"),
    "broken link": lambda photos: (photos / "class0" / "gone.png").symlink_to("gone"),
    "odd names": _odd_names,
    "an image of 177 million pixels": lambda photos: _png(13300, 13300, photos / "class0/x.png"),
}

#: Those that are refused, and why; the others are read without what is hostile in them.
_NO_FOLDERS = {
    "link to the root": "cannot be listed|hold no images",
    "1200 deep": "hold no images",
}

_ROW = b"file,label\nclass0/0.png,a\n"
_ROWS = _ROW + b"".join(b"class%d/%d.png,b\n" % (n % 2, n) for n in range(1, 8))
#: What stands in labels.csv, and by which rule it is refused.
_TABLES = {
    "sound": (_ROWS, ""),
    "empty": (b"", "has no column file"),
    "no text": (_ROW + bytes(range(256)) * 100, "is not UTF-8 text"),
    "one column": (b"file\n" + b"class0/0.png\n" * 10, "has no column label"),
    "paths above": (_ROW + b"../../../etc/passwd,a\n", "no image in the folder"),
    "absolute paths": (_ROW + b"/etc/passwd,a\n", "is no image in the folder"),
    "a device": (_ROW + b"/dev/zero,a\n", "is no image in the folder"),
    "quote without end": (b'file,label\n"class0/0.png,a\n' * 1000, "cannot be read as CSV"),
    "a field of 10 MB": (b"file,label\nclass0/0.png," + b"x" * 10**7, "larger than field limit"),
    "zero bytes": (_ROWS.replace(b",b", b",b\0"), ""),
    "control codes": (_ROWS.replace(b",b", b",\x1b[2J"), ""),
    "a file twice": (_ROW + b"class0/0.png,b\n", "more than one row"),
    "fields without end": (b"file,label\n" + b"," * 10**6, "have no row"),
}
