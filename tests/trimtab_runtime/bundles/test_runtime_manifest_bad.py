"""Bundles whose manifest was edited."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bad_bundles import content_of, refused, rezip
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples

from trimtab_runtime import Plan
from trimtab_runtime.bundles.archive import open_bundle
from trimtab_runtime.bundles.manifest import MANIFEST_NAME
from trimtab_runtime.errors import BundleError, TrimtabError

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
