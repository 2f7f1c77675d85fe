"""A plan as one file: models, manifest, golden answers and the runtime itself in a `.pyz`."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import trimtab_runtime
from trimtab_runtime.codec import canonical
from trimtab_runtime.definition import OperatingPoint, PlanDefinition, Structure, Variant
from trimtab_runtime.engines import create_engine
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.manifest import (
    GOLDEN_NAME,
    MANIFEST_NAME,
    MODELS_FOLDER,
    PROTOCOL,
    Manifest,
)
from trimtab_runtime.plan import LoadedStage
from trimtab_runtime.preprocess import Preprocessor, decode_image
from trimtab_runtime.routing import combine, decide

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
_REQUIRES = {"onnxruntime": "onnxruntime>=1.18", "litert": "ai-edge-litert>=1.0"}
_INTEGER_OPERATORS = (b"QuantizeLinear", b"QLinearConv", b"ConvInteger", b"MatMulInteger")
_GOLDEN_CASES = 4
_GOLDEN_SIDE = 160  # pixels; golden images are shrunk to it
_EPOCH = (1980, 1, 1, 0, 0, 0)  # so that equal plans are equal files


@dataclass(frozen=True)
class BundleParts:
    """All that goes into a bundle. `models` maps a variant's sha256 to its file; `images` are
    files to choose the golden ones from."""

    name: str
    definition: PlanDefinition
    points: Sequence[OperatingPoint]
    variants: Mapping[str, Variant]
    models: Mapping[str, Path]
    labels: Sequence[str]
    images: Sequence[Path]
    fingerprint: Mapping[str, str]


def write_bundle(parts: BundleParts, target: Path) -> Path:
    """Write the bundle and make it executable; an existing file is replaced at once or not at
    all. Equal parts give equal bytes. Raises PlanningError, ModelError, EngineError or OSError."""
    used = [parts.variants[sha] for sha in _stage_shas(parts.definition.structure)]
    files: dict[str, bytes | Path] = {"__main__.py": _MAIN.encode(), **_runtime_files()}
    for variant in used:
        files[f"{MODELS_FOLDER}/{variant.file_name}"] = parts.models[variant.sha256]
    files[GOLDEN_NAME] = _golden(parts)
    manifest = _manifest(parts, used, {name: _sha256(data) for name, data in files.items()})
    files[MANIFEST_NAME] = canonical(manifest).encode()
    _write_zip(files, target)
    return target


def _stage_shas(structure: Structure) -> list[str]:
    return list(dict.fromkeys(stage.variant for stage in structure.stages))


def _manifest(parts: BundleParts, used: Sequence[Variant], hashes: Mapping[str, str]) -> Manifest:
    structure = parts.definition.structure
    thresholds = [point.thresholds for point in parts.points]
    if parts.definition.thresholds not in thresholds:
        raise PlanningError("the plan's own operating point is not among those to be bundled")
    engines = dict.fromkeys(stage.options.engine for stage in structure.stages)
    quantised = any(_quantised(variant, parts.models[variant.sha256]) for variant in used)
    return Manifest(
        protocol=PROTOCOL,
        name=parts.name,
        trimtab_version=trimtab_runtime.__version__,
        structure=structure,
        variants=tuple(used),
        points=tuple(parts.points),
        point=thresholds.index(parts.definition.thresholds),
        labels=tuple(parts.labels),
        requires=("numpy>=1.22", "pillow>=9.1", *(_REQUIRES[engine] for engine in engines)),
        engines={engine: parts.fingerprint.get(engine, "unknown") for engine in engines},
        device=dict(parts.fingerprint),
        tolerance=0.1 if quantised else 1e-3,
        files=dict(hashes),
    )


def _quantised(variant: Variant, model: Path) -> bool:
    """Whether it computes in integers, which saturate differently on other instruction sets."""
    return variant.input.dtype != "float32" or any(
        name in model.read_bytes() for name in _INTEGER_OPERATORS
    )


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


def _golden(parts: BundleParts) -> bytes:
    """Images with the outputs of every stage and the answer, chosen far from every decision."""
    stages = []
    for stage in parts.definition.structure.stages:
        variant = parts.variants[stage.variant]
        engine = create_engine(str(parts.models[stage.variant]), variant, stage.options)
        stages.append(LoadedStage(engine, stage))
    cases = [_case(stages, parts.definition, path) for path in parts.images]
    if not cases:
        raise PlanningError("no image to choose golden ones from")
    arrays = {"cases": np.array(min(_GOLDEN_CASES, len(cases)))}
    for number, case in enumerate(_safest(cases)):
        arrays[f"image_{number}"] = case.image
        arrays[f"answer_{number}"] = np.array([case.index, case.stage])
        for position, outputs in enumerate(case.outputs):
            arrays[f"outputs_{number}_{position}"] = outputs
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


@dataclass(frozen=True)
class _Case:
    image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
    outputs: list[np.ndarray[tuple[int], np.dtype[np.float32]]]
    index: int
    stage: int
    margin: float


def _case(stages: Sequence[LoadedStage], definition: PlanDefinition, path: Path) -> _Case:
    image = decode_image(str(path)).convert("RGB")
    image.thumbnail((_GOLDEN_SIDE, _GOLDEN_SIDE), Image.Resampling.BOX)
    pixels = np.asarray(image)
    prepared, total = Preprocessor(pixels), None
    outputs = [stage.outputs(prepared) for stage in stages]
    index, stop, margin = -1, -1, np.inf
    for position, stage in enumerate(stages):
        total = combine(
            total, stage.probabilities(outputs[position]), position, definition.structure.rule
        )
        best, confidence = decide(total)
        goes_on = False
        if position < len(definition.thresholds):
            margin = min(margin, abs(float(confidence) - definition.thresholds[position]))
            goes_on = float(confidence) < definition.thresholds[position]
        if not goes_on and stop < 0:
            index, stop = int(best), position
            second, first = np.sort(total)[-2:] if len(total) > 1 else (0.0, total[0])
            margin = min(margin, float(first - second))
            break
    return _Case(pixels, outputs, index, stop, float(margin))


def _safest(cases: Sequence[_Case]) -> list[_Case]:
    """The cases with the widest margins, every stage that answers represented."""
    ordered = sorted(cases, key=lambda case: -case.margin)
    first = {case.stage: case for case in reversed(ordered)}
    chosen = list(first.values())[:_GOLDEN_CASES]
    rest = [case for case in ordered if all(case is not other for other in chosen)]
    return (chosen + rest)[:_GOLDEN_CASES]
