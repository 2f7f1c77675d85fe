"""A thousand damaged and forged bundles: each is refused with a reason, or answers."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples

from trimtab_runtime import Plan
from trimtab_runtime.bundles.manifest import MANIFEST_NAME
from trimtab_runtime.errors import BundleError, TrimtabError

Content = dict[str, bytes]
MAX_EXAMPLES = 1000

scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from([-1, 0, 1, 2, 3, 40, 10**6, 2**31, 2**63, 10**400, -0.0, 1e-320, 1e308])
    | st.floats()
    | st.sampled_from(["", "all", "last", "mean", "single", "onnx", "tflite", "litert", "\ud800"])
    | st.sampled_from(["../x", "/etc/passwd", "models/x", "nchw", "uint8", "x" * 10_000, "\0"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "scale", "zero_point"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def read_zip(path: Path) -> Content:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(content: Content, target: Path, twice: str = "", method: int = 0) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, about a name that occurs twice
        with zipfile.ZipFile(target, "w", method) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
            if twice:
                archive.writestr(twice, b"other")


def sealed(content: Content, manifest: dict[str, Any]) -> Content:
    """The content with a manifest whose hashes are right."""
    files = {k: hashlib.sha256(v).hexdigest() for k, v in content.items() if k != MANIFEST_NAME}
    text = json.dumps({**manifest, "files": files}).encode()
    return {**content, MANIFEST_NAME: text}


def flipped_bytes(whole: Path, target: Path, data: st.DataObject) -> None:
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):  # the directory at the end is where most can go wrong
            place = max(0, len(content) - 1 - place % 6000)
        content[place] ^= data.draw(st.sampled_from([1, 8, 64, 128, 255]))
    target.write_bytes(content)


def cut_or_lengthened(whole: Path, target: Path, data: st.DataObject) -> None:
    content = whole.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    more = data.draw(st.binary(max_size=30))
    end = data.draw(st.sampled_from([b"", content[place:], content[place + 1 :], content]))
    target.write_bytes(content[:place] + more + end)


def edited_manifest(whole: Path, target: Path, data: st.DataObject) -> None:
    content = read_zip(whole)
    manifest = json.loads(content[MANIFEST_NAME])
    for _ in range(data.draw(st.integers(1, 2))):
        node: Any = manifest
        key: Any = None
        while isinstance(node, dict | list) and node:
            parent, keys = node, sorted(node) if isinstance(node, dict) else range(len(node))
            key = data.draw(st.sampled_from(list(keys)))
            node = parent[key]
            if not data.draw(st.integers(0, 4)):
                break
        action = data.draw(st.sampled_from(["replace", "replace", "remove", "copy"]))
        if action == "replace":
            parent[key] = data.draw(values)
        elif action == "remove":
            del parent[key]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(node))
        else:
            parent["name"] = copy.deepcopy(node)
    if data.draw(st.booleans()) and isinstance(manifest, dict):
        content = sealed(content, manifest)
    else:
        content[MANIFEST_NAME] = json.dumps(manifest).encode()
    write_zip(content, target)


def exchanged_files(whole: Path, target: Path, data: st.DataObject) -> None:
    """Files in each other's place, cut or empty, under hashes that are right again."""
    content = read_zip(whole)
    manifest = json.loads(content[MANIFEST_NAME])
    own = ("models/", "arrays/")
    names = sorted(name for name in content if name.startswith(own) or "golden" in name)
    one, other = (data.draw(st.sampled_from(names)) for _ in range(2))
    action = data.draw(st.sampled_from(["exchange", "cut", "empty"]))
    if action == "exchange":
        content[one], content[other] = content[other], content[one]
    else:
        length = data.draw(st.integers(0, len(content[one]))) if action == "cut" else 0
        content[one] = content[one][:length]
    if data.draw(st.integers(0, 3)):
        text = json.dumps(manifest)
        for name in names:  # a file is known by its hash everywhere in the manifest
            if name.startswith(own):
                before, sha256 = Path(name).stem, hashlib.sha256(content[name]).hexdigest()
                content[str(Path(name).with_stem(sha256))] = content.pop(name)
                text = text.replace(before, sha256)
        content = sealed(content, json.loads(text))
    write_zip(content, target)


def zip_tricks(whole: Path, target: Path, data: st.DataObject) -> None:
    content = read_zip(whole)
    name = data.draw(st.sampled_from(sorted(content)))
    trick = data.draw(st.sampled_from(["twice", "rename", "missing", "more", "method", "flags"]))
    new = data.draw(
        st.sampled_from(["../x", "/x", "a\\b", "C:x", "a/", "models/../../x", "ä", "x.py"])
    )
    if trick == "rename":
        content[new] = content.pop(name)
    elif trick == "missing":
        del content[name]
    elif trick == "more":
        content[new] = data.draw(st.binary(max_size=9))
    if data.draw(st.booleans()) and MANIFEST_NAME in content:
        content = sealed(content, json.loads(content[MANIFEST_NAME]))
    method = data.draw(st.sampled_from([8, 12, 14])) if trick == "method" else 0
    write_zip(content, target, twice=name if trick == "twice" else "", method=method)
    if trick == "flags":
        raw = bytearray(target.read_bytes())
        start = raw.rindex(name.encode()) - 46  # its entry in the directory
        raw[start + data.draw(st.integers(4, 45))] = data.draw(st.integers(0, 255))
        target.write_bytes(raw)


Damage = Callable[[Path, Path, st.DataObject], None]
DAMAGES: list[Damage] = [
    flipped_bytes,
    cut_or_lengthened,
    edited_manifest,
    edited_manifest,
    exchanged_files,
    zip_tricks,
]


@examples(MAX_EXAMPLES)
@given(data=st.data())
def test_any_bundle_is_refused_or_answers(
    cascade: Path, tmp_path: Path, cache: Path, noise: Any, data: st.DataObject
) -> None:
    refused_or_answers(cascade, tmp_path, cache, noise, data)


@examples(MAX_EXAMPLES // 2)
@given(data=st.data())
def test_any_bundle_that_stops_early_is_refused_or_answers(
    early: Path, tmp_path: Path, cache: Path, noise: Any, data: st.DataObject
) -> None:
    refused_or_answers(early, tmp_path, cache, noise, data)


@examples(MAX_EXAMPLES // 2)
@given(data=st.data())
def test_any_bundle_with_a_router_is_refused_or_answers(
    premodels: Mapping[str, Path], tmp_path: Path, cache: Path, noise: Any, data: st.DataObject
) -> None:
    whole = premodels[data.draw(st.sampled_from(["image", "tap"]))]
    refused_or_answers(whole, tmp_path, cache, noise, data)


def refused_or_answers(
    whole: Path, tmp_path: Path, cache: Path, noise: Any, data: st.DataObject
) -> None:
    path = tmp_path / "mutated.pyz"
    data.draw(st.sampled_from(DAMAGES))(whole, path, data)
    shutil.rmtree(cache, ignore_errors=True)
    try:
        plan = Plan.load(str(path))
    except TrimtabError as error:
        assert str(error).strip()
        if isinstance(error, BundleError):
            assert str(error).startswith(f"{path}: ")
        assert not list(tmp_path.glob("x*")), "something was written beside the cache"
        return
    assert not list(tmp_path.glob("x*")), "something was written beside the cache"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, where an edited scale overflows
        for use in (
            lambda: json.dumps(plan.info()),
            lambda: plan.classify(noise[0]).label,
            lambda: plan.classify(noise[0]).label,
            lambda: plan.use(latency_ms=2.0).classify(noise[1]),
            plan.selftest,
            lambda: json.dumps(plan.memory and plan.memory.summary()),
        ):
            try:
                use()
            except TrimtabError as error:
                assert str(error).strip()


@pytest.fixture(scope="module")
def photo(photos: list[Path]) -> str:
    return str(photos[0])


@pytest.mark.parametrize("seed", range(12))
def test_as_a_program_it_never_ends_in_a_traceback(
    cascade: Path, tmp_path: Path, photo: str, seed: int
) -> None:
    """A byte changed anywhere but in `__main__.py`, which is what says so."""
    content, chosen = bytearray(cascade.read_bytes()), random.Random(seed)
    with zipfile.ZipFile(cascade) as archive:
        main = archive.getinfo("__main__.py").header_offset
    kept = range(main, main + 3000)
    place = chosen.choice([p for p in range(len(content)) if p not in kept])
    content[place] ^= chosen.choice([1, 8, 64, 255])
    if seed == 11:
        del content[len(content) // 2 :]
    path = tmp_path / "plan.pyz"
    path.write_bytes(content)
    packages = {"PYTHONPATH": sysconfig.get_paths()["purelib"]}
    done = subprocess.run(
        [sys.executable, "-S", "-s", str(path), "classify", photo],
        env={"PATH": os.environ["PATH"], "TRIMTAB_CACHE": str(tmp_path / "cache"), **packages},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert bool(done.stdout) == (done.returncode == 0)
    if done.returncode:
        assert str(path) in done.stderr
