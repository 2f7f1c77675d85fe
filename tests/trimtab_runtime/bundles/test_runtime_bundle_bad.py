"""Damaged, forged and foreign bundles."""

from __future__ import annotations

import json
import random
import stat
import zipfile
from pathlib import Path

import pytest
from bad_bundles import content_of, refused, rezip

from trimtab_runtime import Plan
from trimtab_runtime.bundles.archive import open_bundle
from trimtab_runtime.bundles.manifest import MANIFEST_NAME
from trimtab_runtime.errors import BundleError

#: Into which the flipped bytes are dealt out.
PARTS = 8


def unpacked(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, PARTS))]
)
def test_a_flipped_byte_is_refused_or_changes_nothing(
    cascade: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    content = cascade.read_bytes()
    manifest, folder = open_bundle(str(cascade))
    whole = unpacked(folder)
    with zipfile.ZipFile(cascade) as archive:
        directory = archive.start_dir
        headers = [info.header_offset for info in archive.infolist()]
    chosen = random.Random(1)
    positions = {
        *range(len(content) - 22, len(content)),  # the end record
        *chosen.sample(range(directory, len(content) - 22), 250),
        *(header + offset for header in headers[::6] for offset in range(30)),
        *chosen.sample(range(directory), 150),
    }
    outcomes: dict[bool, int] = {True: 0, False: 0}
    for number, position in enumerate(sorted(positions)[part::PARTS]):
        damaged = bytearray(content)
        damaged[position] ^= chosen.choice([0xFF, 1, 8, 0x40])
        path = tmp_path / "damaged.pyz"
        path.write_bytes(damaged)
        fresh = tmp_path / f"cache{number}"
        monkeypatch.setenv("TRIMTAB_CACHE", str(fresh))
        try:
            again, folder = open_bundle(str(path))
        except BundleError as error:
            assert str(error).startswith(f"{path}: ")
            assert not fresh.exists() or not list(fresh.iterdir())
            outcomes[False] += 1
        else:
            assert again == manifest
            assert unpacked(folder) == whole, f"byte {position} changed what was unpacked"
            outcomes[True] += 1
    assert outcomes[False] > 25, outcomes


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_bundle(cascade: Path, tmp_path: Path, cache: Path, share: float) -> None:
    content = cascade.read_bytes()
    path = tmp_path / "cut.pyz"
    path.write_bytes(content[: int(len(content) * share)])
    # Cut in the middle, it may end with golden.npz, which is a zip of its own.
    message = refused(path, cache)
    assert "it was cut short, or is no bundle; copy it again" in message


def test_no_zip_at_all(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "plan.pyz"
    path.write_text("#!/usr/bin/env python3\nprint('hello')\n")
    assert "is no bundle; copy it again" in refused(path, cache)


def test_a_missing_bundle(tmp_path: Path, cache: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.pyz", cache)
    assert "no such file" in refused(tmp_path, cache)


def test_another_zip_application(tmp_path: Path, cache: Path) -> None:
    path = rezip({"__main__.py": b"print()"}, tmp_path / "app.pyz")
    assert "no manifest.json inside" in refused(path, cache)


@pytest.mark.parametrize("name", ["golden.npz", "__main__.py", "trimtab_runtime/plans/plan.py"])
def test_a_file_is_missing(cascade: Path, tmp_path: Path, cache: Path, name: str) -> None:
    content = content_of(cascade)
    del content[name]
    assert f"{name} is missing" in refused(rezip(content, tmp_path / "a.pyz"), cache)


def test_a_file_too_many(cascade: Path, tmp_path: Path, cache: Path) -> None:
    path = rezip({**content_of(cascade), "more.py": b"1"}, tmp_path / "a.pyz")
    assert "more.py is not in the manifest" in refused(path, cache)


@pytest.mark.parametrize("name", [MANIFEST_NAME, "golden.npz"])
def test_a_file_that_occurs_twice(cascade: Path, tmp_path: Path, cache: Path, name: str) -> None:
    content = content_of(cascade)
    path = rezip(content, tmp_path / "a.pyz", more=[(name, content[name])])
    assert f"{name} occurs twice" in refused(path, cache)


def with_file(cascade: Path, name: str, data: bytes = b"x") -> dict[str, bytes]:
    """The bundle with one more file, which its manifest names."""
    import hashlib

    content = content_of(cascade)
    manifest = json.loads(content[MANIFEST_NAME])
    manifest["files"][name] = hashlib.sha256(data).hexdigest()
    return {**content, MANIFEST_NAME: json.dumps(manifest).encode()}


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "models/../../evil",
        "/etc/evil",
        "models//evil",
        "./evil",
        "models/.",
        "..\\evil",
        "models\\evil",
        "C:evil",
        "C:/evil",
        "folder/",
    ],
)
def test_a_path_that_climbs_out(cascade: Path, tmp_path: Path, cache: Path, name: str) -> None:
    info = zipfile.ZipInfo("placeholder")
    info.filename = name  # as an attacker would write it, past ZipInfo's own tidying
    path = rezip(with_file(cascade, name), tmp_path / "a.pyz", more=[(info, b"x")])
    assert f"unsafe path {name!r}" in refused(path, cache)
    assert not (tmp_path / "evil").exists()


def test_a_symbolic_link(cascade: Path, tmp_path: Path, cache: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = rezip(with_file(cascade, "link", b"/etc"), tmp_path / "a.pyz", more=[(info, b"/etc")])
    assert "link is a symbolic link" in refused(path, cache)


def test_a_zip_bomb(cascade: Path, tmp_path: Path, cache: Path) -> None:
    zeros = bytes(64 * 2**20)
    info = zipfile.ZipInfo("zeros")
    info.compress_type = zipfile.ZIP_DEFLATED
    path = rezip(with_file(cascade, "zeros", zeros), tmp_path / "a.pyz", more=[(info, zeros)])
    assert path.stat().st_size < 10**6
    assert "unpacks to 67108864 bytes: refused" in refused(path, cache)


def test_a_bomb_that_lies_about_its_size(cascade: Path, tmp_path: Path, cache: Path) -> None:
    zeros = bytes(64 * 2**20 + 123_457)
    info = zipfile.ZipInfo("zeros")
    info.compress_type = zipfile.ZIP_DEFLATED
    path = rezip(with_file(cascade, "zeros", zeros), tmp_path / "a.pyz", more=[(info, zeros)])
    content = path.read_bytes()
    size = len(zeros).to_bytes(4, "little")
    assert content.count(size) == 2, "in the local header and in the directory"
    path.write_bytes(content.replace(size, (1000).to_bytes(4, "little")))
    refused(path, cache)


def test_many_files(cascade: Path, tmp_path: Path, cache: Path) -> None:
    more = {f"f{number}": b"" for number in range(1001)}
    path = rezip({**content_of(cascade), **more}, tmp_path / "a.pyz")
    assert "at most 1000 files are allowed" in refused(path, cache)


def test_a_compressed_bundle_is_as_good(cascade: Path, tmp_path: Path) -> None:
    path = rezip(content_of(cascade), tmp_path / "a.pyz", compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < cascade.stat().st_size
    assert Plan.load(str(path)).selftest() == []


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(
    cascade: Path, tmp_path: Path, cache: Path, method: int
) -> None:
    path = rezip(content_of(cascade), tmp_path / "a.pyz", compression=method)
    assert "compressed by an unknown method" in refused(path, cache)


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [(10, 8, "decompressing"), (8, 1, "encrypted"), (10, 99, "unknown method")],
    ids=["deflated", "encrypted", "method 99"],
)
@pytest.mark.parametrize("name", [MANIFEST_NAME, "golden.npz"])
def test_a_directory_that_lies_about_how_a_file_is_stored(
    cascade: Path, tmp_path: Path, cache: Path, name: str, offset: int, value: int, reason: str
) -> None:
    content = bytearray(cascade.read_bytes())
    with zipfile.ZipFile(cascade) as archive:
        start = content.index(name.encode(), archive.start_dir) - 46  # its directory entry
    assert content[start : start + 4] == b"PK\x01\x02"
    content[start + offset] = value
    path = tmp_path / "a.pyz"
    path.write_bytes(content)
    assert reason in refused(path, cache)
