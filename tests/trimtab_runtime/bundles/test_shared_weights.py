"""Two input sizes of one network: their weights lie in a bundle once."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from sample_models import INPUT, write_onnx

from trimtab.planner.bundles.archive import BundleParts, write_bundle
from trimtab.variants import (
    derive_variant,
    inspect_model,
    make_variant,
    resize_in_subprocess,
    resized_input,
)
from trimtab_runtime.bundles.archive import open_bundle
from trimtab_runtime.bundles.manifest import MANIFEST_NAME, Piece
from trimtab_runtime.definitions.plan import (
    OperatingPoint,
    PlanDefinition,
    RuntimeOptions,
    Stage,
    Structure,
)
from trimtab_runtime.errors import BundleError
from trimtab_runtime.plans.plan import Plan

SMALL = (24, 24)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, photos: Sequence[Path]) -> BundleParts:
    """A cascade of a network with smaller and with its own images."""
    folder = tmp_path_factory.mktemp("sizes")
    own, small = write_onnx(folder / "own.onnx", width=64), folder / "small.onnx"
    whole = make_variant(own, inspect_model(own), INPUT, {}, "net")
    resize_in_subprocess(own, whole, SMALL, small)
    fed = dataclasses.replace(whole, input=resized_input(whole.input, SMALL))
    less = derive_variant(small, fed, "net 24px")
    options = RuntimeOptions("onnxruntime")
    stages = (Stage(less.sha256, options), Stage(whole.sha256, options))
    return BundleParts(
        name="net 24px > net",
        definition=PlanDefinition(Structure("cascade", stages), (0.6,)),
        points=[OperatingPoint((0.6,), {"latency_mean_ms": 1.0})],
        variants={v.sha256: v for v in (whole, less)},
        models={whole.sha256: own, less.sha256: small},
        labels=["north", "north-east", "east", "south-east"],
        images=photos[:8],
        fingerprint={"machine": "test", "onnxruntime": "1"},
    )


@pytest.fixture(scope="module")
def bundle(parts: BundleParts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(parts, tmp_path_factory.mktemp("bundle") / "plan.pyz")


def test_the_bundle_holds_the_weights_once(parts: BundleParts, bundle: Path) -> None:
    sizes = sorted(path.stat().st_size for path in parts.models.values())
    with zipfile.ZipFile(bundle) as archive:
        held = [i.file_size for i in archive.infolist() if i.filename.startswith("models/")]
    assert len(held) == 2 and sum(held) < 1.1 * sizes[1]
    assert bundle.read_bytes() == write_bundle(parts, bundle.with_name("again.pyz")).read_bytes()


def test_both_sizes_run_and_give_the_answers_it_was_made_with(
    parts: BundleParts, bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path))
    manifest, folder = open_bundle(str(bundle))
    for sha, path in parts.models.items():
        assert (folder / "models" / f"{sha}.onnx").read_bytes() == path.read_bytes()
    assert len(manifest.shared or {}) == 1
    assert Plan.load(str(bundle)).selftest() == []


@pytest.mark.parametrize(
    ("piece", "reason"),
    [
        ({"file": "models/other.onnx"}, "lie in no whole file"),
        ({"length": 8 * 2**30}, "too many bytes"),
        ({"start": 7}, "is damaged"),
        ({"start": -1}, "start >= 0"),
    ],
)
def test_pieces_that_do_not_fit_are_refused(
    piece: dict[str, object],
    reason: str,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    bad = tmp_path / "bad.pyz"
    with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(bad, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == MANIFEST_NAME:
                manifest = json.loads(content)
                (pieces,) = manifest["shared"].values()
                next(each for each in pieces if each["file"]).update(piece)
                content = json.dumps(manifest).encode()
            target.writestr(name, content)
    with pytest.raises(BundleError, match=reason):
        open_bundle(str(bad))


def test_a_piece_is_some_bytes() -> None:
    with pytest.raises(ValueError, match="length >= 1"):
        Piece("models/a.onnx", 0, 0)
