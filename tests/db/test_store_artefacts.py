"""Files named by their content."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.db import ArtefactStore
from trimtab_runtime.errors import StoreError

LIMITED = """
import resource, sys
from trimtab.db import ArtefactStore; from trimtab_runtime.errors import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
try:
    ArtefactStore(sys.argv[1]).put_file(sys.argv[2])
except StoreError as error:
    print(error)
"""
PUT = """
import sys; from trimtab.db import ArtefactStore
print("ready", flush=True); input()
print(ArtefactStore(sys.argv[1]).put_bytes(b"x" * 5_000_000), flush=True)
"""


@pytest.fixture
def files(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path / "artefacts")


def all_files(store: ArtefactStore) -> list[Path]:
    return [path for path in store.folder.rglob("*") if path.is_file()]


def test_a_file_lies_under_its_sha256(files: ArtefactStore, tmp_path: Path) -> None:
    assert not files.folder.exists()
    content = b"weights" * 500_000
    (tmp_path / "m.onnx").write_bytes(content)
    sha256 = files.put_file(tmp_path / "m.onnx")

    assert sha256 == hashlib.sha256(content).hexdigest()
    assert files.path(sha256) == files.folder / sha256[:2] / sha256
    assert files.path(sha256).read_bytes() == content
    assert files.put_bytes(content) == sha256
    assert all_files(files) == [files.path(sha256)]


def test_a_missing_file_says_what_to_do(files: ArtefactStore) -> None:
    with pytest.raises(StoreError, match=r"is missing from .*; run the job again"):
        files.path("ab" * 32)
    sha256 = files.put_bytes(b"x")
    files.path(sha256).unlink()
    with pytest.raises(StoreError, match="is missing"):
        files.path(sha256)


def test_an_altered_file_is_noticed_and_healed(files: ArtefactStore) -> None:
    sha256 = files.put_bytes(b"good")
    files.path(sha256).write_bytes(b"evil!")
    for check in (files.path, files.verify):
        with pytest.raises(StoreError, match="was altered"):
            check(sha256)

    assert files.put_bytes(b"good") == sha256
    assert files.path(sha256).read_bytes() == b"good"


def test_a_fresh_store_trusts_no_file(files: ArtefactStore) -> None:
    sha256 = files.put_bytes(b"good")
    files.path(sha256).write_bytes(b"evil")
    with pytest.raises(StoreError, match="was altered"):
        ArtefactStore(files.folder).path(sha256)


@pytest.mark.parametrize("bad", ["", "ab", "../../etc/passwd", "AB" * 32, "ab" * 32 + "\n"])
def test_what_is_no_sha256_names_no_file(files: ArtefactStore, bad: str) -> None:
    with pytest.raises(StoreError, match="64 digits"):
        files.path(bad)


def test_what_cannot_be_read_is_refused(files: ArtefactStore, tmp_path: Path) -> None:
    for bad in (tmp_path / "none", tmp_path):
        with pytest.raises(StoreError, match="cannot read"):
            files.put_file(bad)


def test_a_write_that_fails_half_way_leaves_no_file(files: ArtefactStore, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(b"x" * 10_000_000)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(files.folder), str(big)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cannot keep an artefact" in done.stdout
    assert "File too large" in done.stdout
    assert files.folder.is_dir()
    assert all_files(files) == []


def test_a_place_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot keep an artefact"):
        ArtefactStore(tmp_path / "file" / "artefacts").put_bytes(b"x")


def test_processes_may_put_the_same_file_at_once(
    files: ArtefactStore, second: Callable[..., Any]
) -> None:
    racers = [second(PUT, str(files.folder)) for _ in range(4)]
    assert [racer.hear() for racer in racers] == ["ready"] * 4
    for racer in racers:
        racer.say()

    (sha256,) = {racer.hear() for racer in racers}
    assert all_files(files) == [files.path(sha256)]
