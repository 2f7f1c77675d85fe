"""A plan as one file: models, manifest, golden answers and the runtime itself in a `.pyz`."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import trimtab_runtime
from trimtab.planner.bundles.golden import golden_cases
from trimtab.planner.bundles.sharing import own_bytes, shared_pieces
from trimtab_runtime.bundles.manifest import (
    ARRAYS_FOLDER,
    GOLDEN_NAME,
    MANIFEST_NAME,
    MODELS_FOLDER,
    PROTOCOL,
    Manifest,
    Piece,
    Provenance,
    arrays_name,
    onnx_name,
    read_manifest,
)
from trimtab_runtime.codec import canonical
from trimtab_runtime.definitions.plan import OperatingPoint, PlanDefinition, Structure, Variant
from trimtab_runtime.errors import BundleError, PlanningError
from trimtab_runtime.plans.deciders import load_router
from trimtab_runtime.plans.early_exits import load_recall
from trimtab_runtime.plans.stage import LoadedStage, load_stage

_MAIN = """\
import os
import sys
import zipfile

bundle = os.path.dirname(os.path.abspath(__file__))
try:
    with zipfile.ZipFile(bundle) as archive:
        for name in archive.namelist():
            if name.endswith(".py"):
                archive.read(name)  # which compares its checksum; importing it does not
    from trimtab_runtime.cli import main
except Exception as error:
    reason = type(error).__name__ + ": " + str(error)
    sys.exit("error: " + bundle + ": damaged, or lacks what it requires (" + reason + ")")
sys.exit(main(bundle))
"""
_REQUIRES = {
    "numpy": "numpy>=1.22",
    "pillow": "pillow>=9.1",
    "onnxruntime": "onnxruntime>=1.18",
    "litert": "ai-edge-litert>=1.0",
    "opencv": "opencv-python-headless>=5.0",
}
#: Builds of onnxruntime that stand in for it, by the execution provider that they bring.
_BUILDS = {
    "CUDAExecutionProvider": "onnxruntime-gpu>=1.18",
    "OpenVINOExecutionProvider": "onnxruntime-openvino>=1.18",
    "TensorrtExecutionProvider": "onnxruntime-gpu>=1.18",
}
_INTEGER_OPERATORS = (b"QuantizeLinear", b"QLinearConv", b"ConvInteger", b"MatMulInteger")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # so that equal plans are equal files


@dataclass(frozen=True)
class BundleParts:
    """All that goes into a bundle. `models` maps a variant's sha256 to its file (not needed of a
    stage with exits), `files` that of a segment, of the arrays of taps, of a router or a scorer;
    `images` are files to choose the golden ones from, for plans that remember in the order of a
    stream."""

    name: str
    definition: PlanDefinition
    points: Sequence[OperatingPoint]
    variants: Mapping[str, Variant]
    models: Mapping[str, Path]
    labels: Sequence[str]
    images: Sequence[Path]
    fingerprint: Mapping[str, str]
    files: Mapping[str, Path] = field(default_factory=dict)
    provenance: Provenance | None = None
    largest_pixels: int | None = None


def write_bundle(parts: BundleParts, target: Path) -> Path:
    """Write the bundle and make it executable; an existing file is replaced at once or not at
    all. Equal parts give equal bytes. Raises PlanningError, ModelError, EngineError or OSError."""
    files: dict[str, bytes | Path] = {"__main__.py": _MAIN.encode(), **_runtime_files()}
    files.update(_stage_files(parts))
    recall = load_recall(
        parts.definition.structure,
        len(parts.labels),
        lambda sha: _file(parts, sha, "arrays"),
    )
    router = load_router(
        parts.definition.structure, lambda sha: _file(parts, sha, "router or scorer")
    )
    stages = load_stages(parts)
    files[GOLDEN_NAME] = golden_cases(
        parts.definition, stages, recall, parts.images, router, parts.labels
    )
    models = {name: path for name, path in _stage_files(parts).items() if _is_model(name)}
    shared = shared_pieces(models)
    manifest = _manifest(parts, {name: _sha256(data) for name, data in files.items()}, shared)
    files[MANIFEST_NAME] = canonical(manifest).encode()
    files.update((name, own_bytes(models[name], pieces)) for name, pieces in shared.items())
    _write_zip(files, target)
    return target


def holds(bundle: Path, parts: BundleParts) -> bool:
    """Whether a bundle was made of these parts, by this version of Trimtab or another: all that
    differs is the runtime in it, what was computed with that, and estimates of its operating
    points. It gives the same answers."""
    try:
        with zipfile.ZipFile(bundle) as archive:
            found = read_manifest(archive.read(MANIFEST_NAME))
    except (BundleError, KeyError, zipfile.BadZipFile):
        return False
    hashes = {name: _sha256(path) for name, path in _stage_files(parts).items()}
    return _contents(found) == _contents(_manifest(parts, hashes))


def _contents(manifest: Manifest) -> tuple[object, ...]:
    """What a bundle holds, whichever runtime runs it."""
    folders = (f"{MODELS_FOLDER}/", f"{ARRAYS_FOLDER}/")
    return (
        manifest.name,
        manifest.structure,
        manifest.variants,
        [replace(point, metrics={}) for point in manifest.points],
        manifest.point,
        manifest.labels,
        manifest.device,
        {name: sha for name, sha in manifest.files.items() if name.startswith(folders)},
    )


def _stage_files(parts: BundleParts) -> dict[str, Path]:
    """Names in the bundle, and the files that belong there."""
    found = {
        onnx_name(sha): _file(parts, sha, "router or scorer")
        for sha in parts.definition.structure.deciders
    }
    for stage in parts.definition.structure.stages:
        exits = stage.exits
        if exits is None:
            name = parts.variants[stage.variant].file_name
            found[f"{MODELS_FOLDER}/{name}"] = parts.models[stage.variant]
            continue
        for sha in exits.segments:
            found[onnx_name(sha)] = _file(parts, sha, "segment")
        if exits.arrays:
            found[arrays_name(exits.arrays)] = _file(parts, exits.arrays, "arrays")
    return found


def _file(parts: BundleParts, sha: str, what: str) -> Path:
    if sha not in parts.files:
        raise PlanningError(f"the plan names {what} {sha[:12]}, and no such file was given")
    return parts.files[sha]


def load_stages(parts: BundleParts) -> list[LoadedStage]:
    """The stages, loaded from their files. Raises EngineError or ModelError."""
    found = []
    for stage in parts.definition.structure.stages:
        variant, exits = parts.variants[stage.variant], stage.exits
        model = "" if exits else str(parts.models[stage.variant])
        shas = exits.segments if exits else ()
        segments = [str(_file(parts, sha, "segment")) for sha in shas]
        scorer = str(_file(parts, stage.scorer.model, "scorer")) if stage.scorer else None
        found.append(load_stage(stage, variant, model, segments, scorer))
    return found


def _is_model(name: str) -> bool:
    return name.startswith(f"{MODELS_FOLDER}/")


def _manifest(
    parts: BundleParts,
    hashes: Mapping[str, str],
    shared: Mapping[str, tuple[Piece, ...]] | None = None,
) -> Manifest:
    definition, structure = parts.definition, parts.definition.structure
    points = [(point.thresholds, point.exits, point.price) for point in parts.points]
    own = (definition.thresholds, definition.exits, definition.price)
    if own not in points:
        raise PlanningError("the plan's own operating point is not among those to be bundled")
    engines = dict.fromkeys(stage.options.engine for stage in structure.stages)
    if structure.deciders:
        engines["onnxruntime"] = None
    used = dict.fromkeys(stage.variant for stage in structure.stages)
    models = [path for name, path in _stage_files(parts).items() if _is_model(name)]
    packages = structure.router.looks_at.packages if structure.router else ()
    quantised = any(parts.variants[sha].input.dtype != "float32" for sha in used)
    return Manifest(
        protocol=PROTOCOL,
        name=parts.name,
        trimtab_version=trimtab_runtime.__version__,
        structure=structure,
        variants=tuple(parts.variants[sha] for sha in used),
        points=tuple(parts.points),
        point=points.index(own),
        labels=tuple(parts.labels),
        requires=_requirements([*engines, *packages], structure),
        engines={engine: parts.fingerprint.get(engine, "unknown") for engine in engines},
        device=dict(parts.fingerprint),
        tolerance=0.1 if quantised or any(map(_integers, models)) else 1e-3,
        files=dict(hashes),
        provenance=parts.provenance,
        shared=dict(shared) if shared else None,
        largest_pixels=parts.largest_pixels,
    )


def _requirements(parts: Sequence[str], structure: Structure) -> tuple[str, ...]:
    """What pip is to install; a build of onnxruntime with a provider of the plan's instead of the
    plain one."""
    providers = (stage.options.provider for stage in structure.stages)
    builds = list(dict.fromkeys(_BUILDS[name] for name in providers if name in _BUILDS))
    plain = [name for name in parts if name != "onnxruntime" or not builds]
    return (*(_REQUIRES[name] for name in ("numpy", "pillow", *plain)), *builds)


def _integers(model: Path) -> bool:
    """Whether it computes in integers, which saturate differently on other instruction sets."""
    content = model.read_bytes()
    return any(name in content for name in _INTEGER_OPERATORS)


def _runtime_files() -> dict[str, bytes | Path]:
    root = Path(trimtab_runtime.__file__).parent
    found = sorted(path for path in root.rglob("*.py") if "__pycache__" not in path.parts)
    return {f"{root.name}/{path.relative_to(root).as_posix()}": path for path in found}


def _sha256(data: bytes | Path) -> str:
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    with data.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_zip(files: Mapping[str, bytes | Path], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(b"#!/usr/bin/env python3\n")
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
                for name in sorted(files):
                    data = files[name]
                    info = zipfile.ZipInfo(name, _EPOCH)
                    info.external_attr = (stat.S_IFREG | 0o644) << 16
                    archive.writestr(info, data if isinstance(data, bytes) else data.read_bytes())
        os.chmod(partial, 0o755)
        os.replace(partial, target)
    finally:
        Path(partial).unlink(missing_ok=True)
