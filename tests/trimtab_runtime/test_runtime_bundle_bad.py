"""Damaged, forged and foreign bundles."""

from __future__ import annotations

import copy
import json
import random
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples

from trimtab_runtime import Plan
from trimtab_runtime.bundles.archive import open_bundle
from trimtab_runtime.bundles.manifest import MANIFEST_NAME
from trimtab_runtime.errors import BundleError, TrimtabError


def content_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def unpacked(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def rezip(content: dict[str, bytes], target: Path, **extra: Any) -> Path:
    """Write `content` again; `extra`: further (ZipInfo or name, data) pairs, and compression."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, about a name that occurs twice
        with zipfile.ZipFile(target, "w", extra.get("compression", 0)) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
            for name, data in extra.get("more", ()):
                archive.writestr(name, data)
    return target


def refused(path: Path, cache: Path) -> str:
    with pytest.raises(BundleError) as raised:
        open_bundle(str(path))
    assert str(raised.value).startswith(f"{path}: ")
    assert not cache.exists() or not list(cache.iterdir()), "something was left in the cache"
    return str(raised.value)


def test_a_flipped_byte_is_refused_or_changes_nothing(
    cascade: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    for number, position in enumerate(sorted(positions)):
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
    assert outcomes[False] > 250, outcomes


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


Edit = Callable[[dict[str, Any]], object]


def edited(cascade: Path, target: Path, edit: Edit) -> Path:
    content = content_of(cascade)
    manifest = json.loads(content[MANIFEST_NAME])
    edit(manifest)
    return rezip({**content, MANIFEST_NAME: json.dumps(manifest).encode()}, target)


@pytest.mark.parametrize("protocol", [0, 4, -1, "1", None, True, 1.0, [1], 10**30])
def test_an_unknown_protocol(cascade: Path, tmp_path: Path, cache: Path, protocol: Any) -> None:
    path = edited(cascade, tmp_path / "a.pyz", lambda m: m.update(protocol=protocol))
    assert "protocol" in refused(path, cache)


def test_a_later_protocol_says_what_to_do(cascade: Path, tmp_path: Path, cache: Path) -> None:
    path = edited(cascade, tmp_path / "a.pyz", lambda m: m.update(protocol=4, new_field=1))
    assert "protocol 3 expected, got 4; run the bundle with the" in refused(path, cache)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"protocol": 1}', b"[" * 100_000]
)
def test_a_manifest_that_is_none(cascade: Path, tmp_path: Path, cache: Path, text: bytes) -> None:
    path = rezip({**content_of(cascade), MANIFEST_NAME: text}, tmp_path / "a.pyz")
    assert "manifest.json: " in refused(path, cache)


def _other_hash(manifest: dict[str, Any]) -> None:
    manifest["files"]["golden.npz"] = "0" * 64


def _drop_stage(manifest: dict[str, Any]) -> None:
    manifest["structure"] = {**manifest["structure"], "route": "single"}
    del manifest["structure"]["stages"][1]


def _thresholds(manifest: dict[str, Any]) -> None:
    manifest["points"][0]["thresholds"] = [0.1, 0.2]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_other_hash, "golden.npz is damaged: its sha256 is not 0000"),
        (_drop_stage, "are not what the stages name"),
        (_thresholds, "do not fit the stages"),
        (lambda m: m.update(point=3), "point 3 of 3"),
        (lambda m: m.update(tolerance=float("nan")), "tolerance: expected a finite number"),
        (lambda m: m.update(surprise=1), "unknown field 'surprise'"),
        (lambda m: m.pop("labels"), "labels: missing"),
        (lambda m: m["variants"][0].update(format="exe"), "format must be one of onnx, tflite"),
        (lambda m: m["variants"][0].update(sha256="../../x"), "are not what the stages name"),
    ],
)
def test_a_manifest_that_contradicts_itself(
    cascade: Path, tmp_path: Path, cache: Path, edit: Edit, message: str
) -> None:
    assert message in refused(edited(cascade, tmp_path / "a.pyz", edit), cache)


odd_values = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([-1, 0, 1, 2, 3, 40, 10**6, 2**63, 10**400])
    | st.floats()
    | st.sampled_from(["", "all", "last", "mean", "single", "onnx", "litert", "../x", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "name", "scale"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def mutate(node: Any, data: st.DataObject) -> None:
    """Change, remove or add one thing, somewhere inside `node`."""
    while True:
        keys = sorted(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys)) if keys else None
        inner = node[key] if keys else None
        if isinstance(inner, dict | list) and inner and data.draw(st.integers(0, 4)):
            node = inner
            continue
        action = data.draw(st.sampled_from(["change", "remove", "add"]))
        if keys and action == "remove":
            del node[key]
        elif keys and action == "change":
            node[key] = data.draw(odd_values)
        elif isinstance(node, dict):
            node["quantisation"] = data.draw(odd_values)
        else:
            node.append(data.draw(odd_values))
        return


@examples(250)
@given(data=st.data())
def test_a_manifest_edited_by_hand_never_crashes(
    cascade: Path, tmp_path: Path, noise: Any, data: st.DataObject
) -> None:
    """Whatever was edited: a refusal that says why, or a plan that answers or says why not."""
    content = content_of(cascade)
    manifest = copy.deepcopy(json.loads(content[MANIFEST_NAME]))
    mutate(manifest, data)
    text = json.dumps(manifest).encode()
    path = rezip({**content, MANIFEST_NAME: text}, tmp_path / "edited.pyz")
    try:
        open_bundle(str(path))
    except BundleError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, where an edited scale overflows
        try:
            plan = Plan.load(str(path))
            plan.info()
            answer = plan.classify(noise[0])
        except TrimtabError:
            return
    assert answer.label


def _stage(number: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def found(manifest: dict[str, Any]) -> dict[str, Any]:
        stage: dict[str, Any] = manifest["structure"]["stages"][number]
        return stage

    return found


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.update(protocol=1), "protocol 1 knows no plans that stop early"),
        (lambda m: m.update(labels=[]), "needs labels, one for every class"),
        (lambda m: _stage(0)(m)["exits"].update(last="0" * 64), "belongs to segment 1 of width 3"),
        (
            lambda m: _stage(1)(m)["exits"]["taps"][0].update(segment="0" * 64),
            "belongs to segment 0 of width 8",
        ),
        (
            lambda m: _stage(1)(m)["exits"].update(arrays="0" * 64),
            "no file holds the arrays of the taps of width 8",
        ),
        (lambda m: _stage(0)(m)["exits"].update(taps=[]), "exits need at least one tap"),
        (lambda m: _stage(0)(m).pop("exits"), "no file belongs to variant width 3"),
        (
            lambda m: m["variants"][0].update(format="tflite"),
            "a tflite file cannot be cut at taps",
        ),
        (
            lambda m: _stage(1)(m)["exits"]["taps"][0].update(kinds=["heads", "centres"]),
            "kinds must be of",
        ),
        (
            lambda m: m["structure"]["memory"].pop("centres"),
            "centres exactly where the memory says how they answer",
        ),
        (lambda m: m["structure"]["memory"].update(instances=5000), "instances <= 4096"),
        (
            lambda m: m["structure"]["memory"].pop("thumbnails"),
            "exits.thumbnails has a threshold, but only instances, centres, heads may answer",
        ),
        (lambda m: m["points"][0]["exits"].update(heads="high"), "points[0].exits.heads"),
        (
            lambda m: _stage(0)(m)["options"].update(spinning=True),
            "spinning must be off where several sessions share a process",
        ),
    ],
)
def test_exits_that_contradict_the_rest(
    early: Path, tmp_path: Path, cache: Path, edit: Edit, message: str
) -> None:
    assert message in refused(edited(early, tmp_path / "a.pyz", edit), cache)
