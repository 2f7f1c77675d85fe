"""Where bundles unpack: once, privately, and again when something there was changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import pytest

from trimtab_runtime import Plan
from trimtab_runtime.bundles.archive import open_bundle
from trimtab_runtime.bundles.cache import caches, check_safe
from trimtab_runtime.errors import BundleError

FIXTURE = Path(__file__).parents[1] / "fixtures" / "protocol_2.pyz"


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
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    temporary = tmp_path / "temp" / f"trimtab-{os.getuid()}"
    assert caches() == [tmp_path / "cache"]
    monkeypatch.delenv("TRIMTAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert caches() == [tmp_path / "xdg" / "trimtab", temporary]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert caches() == [tmp_path / "home" / ".cache" / "trimtab", temporary]


#: A service or a container: what the bundle's program has of its environment.
HOMES = {
    "no home": {},
    "an empty home": {"HOME": ""},
    "a home that is not there": {"HOME": "/nonexistent/home"},
    "a home that is no folder": {"HOME": "/dev/null"},
    "a relative cache": {"XDG_CACHE_HOME": "here"},
}
UNKNOWN_USER = 54321  # without an entry in /etc/passwd, as containers run

LOAD = """
import os, sys
from trimtab_runtime.bundles.archive import open_bundle
"".encode("cp437")  # what zipfile reads names with
if len(sys.argv) > 2:  # after the imports: Python itself may lie where only root can read
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
print(open_bundle(sys.argv[1])[1])
"""


def load(bundle: Path, where: Path, *user: str, **environment: str) -> str:
    """Where a process with this environment unpacks, or the error that it ends with."""
    where.mkdir(exist_ok=True)
    temp = where / "temp"
    temp.mkdir(exist_ok=True)
    temp.chmod(0o1777)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(bundle), *user],
        env={"TMPDIR": str(temp), "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        cwd=where,
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout or done.stderr).strip().splitlines()[-1]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may be somebody else")
@pytest.mark.parametrize("home", HOMES)
def test_without_a_home_it_unpacks_among_the_temporary_files(home: str) -> None:
    # pytest's folders are closed to others
    with tempfile.TemporaryDirectory(prefix="trimtab-test-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        bundle = Path(shutil.copy(FIXTURE, folder))
        found = load(bundle, folder / "run", str(UNKNOWN_USER), **HOMES[home])
        private = folder / "run" / "temp" / f"trimtab-{UNKNOWN_USER}"
        assert Path(found).parent == private
        assert private.stat().st_mode & 0o777 == 0o700
        assert sorted(path.name for path in (folder / "run").iterdir()) == ["temp"]
        again = load(bundle, folder / "run", str(UNKNOWN_USER), **HOMES[home])
        assert again == found


@pytest.mark.skipif(os.getuid() != 0, reason="only root may be somebody else")
def test_a_read_only_cache_that_root_filled_serves_everybody() -> None:
    with tempfile.TemporaryDirectory(prefix="trimtab-test-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        bundle = Path(shutil.copy(FIXTURE, folder))
        cache = {"TRIMTAB_CACHE": str(folder / "cache")}
        assert "writable folder" in load(bundle, folder / "run", str(UNKNOWN_USER), **cache)
        filled = load(bundle, folder / "run", **cache)
        for path in (folder / "cache", *(folder / "cache").rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        assert load(bundle, folder / "run", str(UNKNOWN_USER), **cache) == filled


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder away")
def test_a_stranger_prepared_the_temporary_folder(tmp_path: Path) -> None:
    """Its content would run here, so nothing in it is taken, nor is a link followed."""
    mine = tmp_path / "run" / "temp" / f"trimtab-{os.getuid()}"
    for kind in ("folder", "link"):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        mine.parent.mkdir(parents=True)
        if kind == "folder":
            mine.mkdir(mode=0o777)
            os.chown(mine, UNKNOWN_USER, -1)
        else:
            mine.symlink_to(tmp_path)
            os.chown(mine, UNKNOWN_USER, -1, follow_symlinks=False)
        told = load(FIXTURE, tmp_path / "run", HOME="/dev/null")
        assert "BundleError" in told or "Not a directory" in told
        assert not list(tmp_path.glob("*/manifest.json"))
        with pytest.raises(BundleError, match="belongs to or is writable by others"):
            check_safe(mine)


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o775])
def test_a_cache_that_others_can_write(cascade: Path, cache: Path, mode: int) -> None:
    """Whoever may write there may put another folder in the place of ours."""
    cache.mkdir()
    cache.chmod(mode)
    with pytest.raises(BundleError, match=r"writable by others: .*chmod go-w.*TRIMTAB_CACHE"):
        open_bundle(str(cascade))
    assert not list(cache.iterdir())
    cache.chmod(0o1777)  # as /tmp: what lies in a folder of ours stays ours
    assert open_bundle(str(cascade))[1].parent == cache / f"trimtab-{os.getuid()}"


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


@pytest.mark.parametrize("what", ["zeros", "link", "pipe", "folder"])
def test_a_change_that_size_and_time_do_not_show_is_mended(
    cascade: Path, tmp_path: Path, what: str
) -> None:
    _, folder = open_bundle(str(cascade))
    model = next((folder / "models").glob("*.onnx"))
    whole, found = model.read_bytes(), model.stat()
    other = tmp_path / "other"
    other.write_bytes(b"a victim's")
    if what == "zeros":
        model.write_bytes(whole[:64] + bytes(len(whole) - 64))
        os.utime(model, (found.st_atime, found.st_mtime))
    else:
        model.unlink()
        {"link": lambda: model.symlink_to(other), "pipe": lambda: os.mkfifo(model)}.get(
            what, model.mkdir
        )()
    assert Plan.load(str(cascade)).selftest() == []
    assert not model.is_symlink()
    assert model.read_bytes() == whole
    assert other.read_bytes() == b"a victim's"


@pytest.mark.parametrize("where", ["folder", "models"])
def test_no_link_is_followed_to_write(cascade: Path, tmp_path: Path, where: str) -> None:
    """A folder of the victim's with a file of a name in the bundle."""
    _, folder = open_bundle(str(cascade))
    name = next((folder / "models").glob("*.onnx")).name
    victims = tmp_path / "victims"
    (victims / "models").mkdir(parents=True)
    (victims / "models" / name).write_bytes(b"a victim's")
    linked = folder if where == "folder" else folder / "models"
    shutil.rmtree(linked)
    linked.symlink_to(victims if where == "folder" else victims / "models")
    _, again = open_bundle(str(cascade))
    assert again == folder
    assert not folder.is_symlink() and not (folder / "models").is_symlink()
    assert (victims / "models" / name).read_bytes() == b"a victim's"
    assert Plan.load(str(cascade)).selftest() == []


def test_whoever_may_rename_the_cache_is_told(
    cascade: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_to_all = tmp_path / "shared"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    monkeypatch.setenv("TRIMTAB_CACHE", str(open_to_all / "mine"))
    with pytest.raises(BundleError, match=r"shared belongs to or is writable by others"):
        open_bundle(str(cascade))
    open_to_all.chmod(0o1777)
    assert open_bundle(str(cascade))[1].parent == open_to_all / "mine"


def test_the_selftest_hashes_again_and_mends(cascade: Path) -> None:
    plan = Plan.load(str(cascade))
    _, folder = open_bundle(str(cascade))
    model = next((folder / "models").glob("*.onnx"))
    whole = model.read_bytes()
    model.unlink()
    model.write_bytes(whole[:-64] + bytes(64))
    (problem,) = plan.selftest()
    assert f"models/{model.name} is damaged in the cache; it is mended now" in problem
    assert model.read_bytes() == whole
    assert Plan.load(str(cascade)).selftest() == []


def test_other_names_of_classes_are_told(cascade: Path, tmp_path: Path) -> None:
    """Nobody but the golden cases knows what a class was called."""
    with zipfile.ZipFile(cascade) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(content["manifest.json"])
    labels = manifest["labels"]
    labels[0], labels[1] = labels[1], labels[0]
    content["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(tmp_path / "swapped.pyz", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    problems = Plan.load(str(tmp_path / "swapped.pyz")).selftest()
    assert [problem.partition(":")[0] for problem in problems] == ["class 0", "class 1"]


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
import sys
from trimtab_runtime.bundles.archive import open_bundle
print(flush=True)
sys.stdin.readline()
print(open_bundle(sys.argv[1])[1])
"""


def test_processes_that_unpack_at_once(cascade: Path, cache: Path) -> None:
    both = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", UNPACK, str(cascade)]
    processes = [subprocess.Popen(command, **both) for _ in range(4)]
    for process in processes:  # all have imported what they need
        process.stdout.readline()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate()[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert len(set(outputs)) == 1
    assert [str(path) for path in cache.iterdir()] == [outputs[0]]
    assert Plan.load(str(cascade)).selftest() == []
