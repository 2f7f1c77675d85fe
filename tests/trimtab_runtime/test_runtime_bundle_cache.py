"""Where bundles unpack: once, privately, and again when something there was changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trimtab_runtime import Plan
from trimtab_runtime.bundles.archive import cache_folder, open_bundle
from trimtab_runtime.errors import BundleError


def test_it_unpacks_once(cascade: Path, cache: Path) -> None:
    _, folder = open_bundle(str(cascade))
    before = {path: path.stat().st_ino for path in folder.rglob("*")}
    assert folder.parent == cache
    assert {path.relative_to(folder).parts[0] for path in before} >= {"models", "golden.npz"}
    assert open_bundle(str(cascade))[1] == folder
    assert {path: path.stat().st_ino for path in folder.rglob("*")} == before
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_it_is_private(cascade: Path) -> None:
    _, folder = open_bundle(str(cascade))
    assert folder.stat().st_mode & 0o777 == 0o700


def test_its_name_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("TRIMTAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "trimtab"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "trimtab"


def test_what_a_killed_process_had_begun_to_unpack_goes_after_a_day(
    cascade: Path, cache: Path
) -> None:
    old, new = cache / ".unpack-old", cache / ".unpack-new"
    for left in (old, new):
        (left / "models").mkdir(parents=True)
        (left / "models" / "half.onnx").write_bytes(b"x")
    os.utime(old, (time.time() - 90000,) * 2)
    _, folder = open_bundle(str(cascade))
    assert {path.name for path in cache.iterdir()} == {folder.name, new.name}


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o722])
def test_a_folder_that_others_can_write(cascade: Path, mode: int) -> None:
    _, folder = open_bundle(str(cascade))
    folder.chmod(mode)
    with pytest.raises(BundleError, match="writable by others: remove it"):
        open_bundle(str(cascade))


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder away")
def test_a_folder_of_somebody_else(cascade: Path) -> None:
    _, folder = open_bundle(str(cascade))
    os.chown(folder, 12345, -1)
    with pytest.raises(BundleError, match="belongs to or is writable by others"):
        open_bundle(str(cascade))


def test_an_unwritable_cache_names_the_remedy(
    cascade: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(BundleError, match="set TRIMTAB_CACHE to a writable folder"):
        open_bundle(str(cascade))


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_cache_names_the_remedy(cascade: Path, cache: Path) -> None:
    cache.mkdir(mode=0o500)
    with pytest.raises(BundleError, match="set TRIMTAB_CACHE to a writable folder"):
        open_bundle(str(cascade))


@pytest.mark.parametrize("damage", ["changed", "cut", "emptied", "removed", "folder removed"])
def test_what_was_changed_there_is_unpacked_again(cascade: Path, damage: str) -> None:
    _, folder = open_bundle(str(cascade))
    model = next((folder / "models").glob("*.onnx"))
    whole = model.read_bytes()
    untouched = (folder / "golden.npz").read_bytes()
    if damage == "changed":
        model.write_bytes(whole[:-100] + bytes(100))
    elif damage == "cut":
        model.write_bytes(whole[:-1])
    elif damage == "emptied":
        model.write_bytes(b"")
    elif damage == "removed":
        model.unlink()
    else:
        shutil.rmtree(model.parent)
    assert Plan.load(str(cascade)).selftest() == []
    assert model.read_bytes() == whole
    assert (folder / "golden.npz").read_bytes() == untouched
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_damaged_bundle_does_not_spoil_what_lies_there(
    cascade: Path, tmp_path: Path, cache: Path
) -> None:
    _, folder = open_bundle(str(cascade))
    golden = (folder / "golden.npz").read_bytes()
    content = cascade.read_bytes()
    at = content.index(golden[:200]) + 100
    damaged = tmp_path / "damaged.pyz"
    damaged.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    (folder / "golden.npz").unlink()
    with pytest.raises(BundleError):
        open_bundle(str(damaged))
    assert not (folder / "golden.npz").exists()
    open_bundle(str(cascade))
    assert (folder / "golden.npz").read_bytes() == golden


UNPACK = """
import sys, time
from trimtab_runtime.bundles.archive import open_bundle
while time.time() < float(sys.argv[2]):
    pass
print(open_bundle(sys.argv[1])[1])
"""


def test_processes_that_unpack_at_once(cascade: Path, cache: Path) -> None:
    start = time.time() + 3
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", UNPACK, str(cascade), str(start)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert len(set(outputs)) == 1
    assert [str(path) for path in cache.iterdir()] == [outputs[0]]
    assert Plan.load(str(cascade)).selftest() == []
