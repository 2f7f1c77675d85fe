"""What mixed precision and a searched recipe bring back of what w8a8 loses, and what they keep of
its speed.

    python -m benchmarks.mixed_precision

Two small networks taught CIFAR-10 (`benchmarks._small_networks`: hard-swish as in MobileNetV3, and
a hybrid ViT; their weights lie beside) on test photographs of the data pack, and the three
EfficientNet-Lites with heads for solar cells (the demo's members, made by
`examples/solar_cells/build.py` in `--folder` where they are not there yet). Quantised on training
images, one thread; latencies are medians of interleaved rounds. Prints one JSON object as its last
line: per model `top1` and `latency_ms` of every precision, `top1_recovered` (of w8a8-mixed, the
share of what w8a8 loses that is back; None where it loses less than a point: `counts` says
whether), `saving_kept` (the share of its time saving that is kept), the same of the others in
`by_scheme`, and `minutes`. Where NNCF can be imported (a baseline for development: `_nncf`), its
accuracy control is measured beside; `nncf` says why not else.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import _nncf
from benchmarks._options import DEFAULT_DATA, ROOT, DataFolder
from benchmarks._small_networks import NETWORKS, weights_file, write_network
from benchmarks.cifar import INPUT, TEST_BATCH, write_images
from trimtab.variants import SCHEMES, NothingToGain, derive_variant, inspect_model, make_variant
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines import create_engine
from trimtab_runtime.fingerprint import fingerprint
from trimtab_runtime.images.preprocess import Preprocessor

CALIBRATED_ON, CONTROLLED_ON, ROUNDS = 100, 200, 60
POINT = 0.01
SCHEMES_TRIED = ("w8a8", "w8a8-full", "w8a8-mixed", "w8a8-searched", "w8")
_TAUGHT_BATCH = 0  # of CIFAR-10, which the networks learned from

Shown = Sequence[tuple[Path, int]]


@dataclass(frozen=True)
class Subject:
    """A float network with images to calibrate on, others of training with their labels, and those
    that top-1 is of."""

    name: str
    source: Path
    input: dict[str, Any]
    calibration: Sequence[Path]
    controlled: Shown
    shown: Shown


def main(
    folder: Annotated[Path, typer.Option(help="where networks and images are made, kept")] = Path(
        "demo-output/solar_cells"
    ),
    images: Annotated[int, typer.Option(help="images that top-1 is of")] = 1000,
    models: Annotated[str, typer.Option(help="separated by commas")] = (
        "mobilenet,vit,lite0,lite1,lite2"
    ),
    data: DataFolder = DEFAULT_DATA,
) -> None:
    wanted, found, why = models.split(","), dict[str, Any](), _nncf.why_not()
    for subject in (*_small(folder, data, wanted, images), *_lites(folder, wanted, images)):
        found[subject.name] = _measured(subject, folder, why is None)
        typer.echo(f"{subject.name}: {json.dumps(found[subject.name])}")
    missing = [name for name in NETWORKS if name in wanted and not weights_file(name).is_file()]
    machine = {name: fingerprint().get(name) for name in ("cpu", "cores", "isa")}
    told = {"machine": machine, "nncf": why or "measured", "not_taught": missing}
    typer.echo(json.dumps({**told, **found}))


def _small(folder: Path, data: Path, wanted: Sequence[str], images: int) -> Iterator[Subject]:
    """The networks taught CIFAR-10 whose weights are there."""
    names = [name for name in NETWORKS if name in wanted and weights_file(name).is_file()]
    if not names:
        return
    place = folder / "cifar10"
    write_images(data, place, [_TAUGHT_BATCH, TEST_BATCH])
    rows = [line.split(",") for line in (place / "labels.csv").read_text().splitlines()[1:]]
    known = [(place / file, int(label)) for file, label in rows]
    taught = [each for each in known if each[0].name.startswith(f"{_TAUGHT_BATCH:02}-")]
    shown = [each for each in known if each[0].name.startswith(f"{TEST_BATCH:02}-")]
    calibration = [path for path, _ in taught[:CALIBRATED_ON]]
    for name in names:
        source = folder / f"{name}.onnx"
        write_network(name, source)
        controlled = taught[CALIBRATED_ON : CALIBRATED_ON + CONTROLLED_ON]
        yield Subject(name, source, INPUT, calibration, controlled, shown[:images])


def _lites(folder: Path, wanted: Sequence[str], images: int) -> Iterator[Subject]:
    """The demo's members."""
    sys.path.insert(0, str(ROOT / "examples" / "solar_cells"))
    from build import MEMBERS, build

    members = [member for member in MEMBERS if member.name in wanted]
    if not members:
        return
    build(folder, lambda step, done, total: None)
    training, photographs = (_labelled(folder / name) for name in ("training", "photographs"))
    calibration = [path for path, _ in _spread(training, CALIBRATED_ON)]
    for member in members:
        said = {"size": member.size, "resize": "bicubic", "mean": 127, "std": 128}
        source = folder / "models" / f"{member.name}.onnx"
        controlled, shown = _spread(training[1:], CONTROLLED_ON), _spread(photographs, images)
        yield Subject(member.name, source, said, calibration, controlled, shown)


def _labelled(folder: Path) -> Shown:
    """Images of a folder a class."""
    found = sorted(folder.rglob("*.png"))
    classes = sorted({each.parent.name for each in found})
    return [(each, classes.index(each.parent.name)) for each in found]


def _spread(rows: Shown, count: int) -> Shown:
    return rows[:: max(1, len(rows) // count)][:count]


def _measured(subject: Subject, folder: Path, controlled: bool) -> dict[str, Any]:
    source, name = subject.source, subject.name
    variant = make_variant(source, inspect_model(source), subject.input, {}, name)
    files, minutes = {"fp32": (source, variant)}, dict[str, float]()
    told = dict[str, Any]()
    for scheme_name in SCHEMES_TRIED:
        scheme, out = SCHEMES[scheme_name], folder / f"{name}-{scheme_name}.onnx"
        suits = scheme.suits(inspect_model(source))
        if not suits or not scheme.runs_on(fingerprint().get("isa", "")):
            told[scheme_name] = suits.reason or "not for this processor"
            continue
        began = time.monotonic()
        try:
            made = scheme.make(source, variant, subject.calibration, out, scheme.recipe)
        except NothingToGain as reason:
            told[scheme_name] = str(reason)
            continue
        minutes[scheme_name] = round((time.monotonic() - began) / 60, 2)
        told[scheme_name] = made or "made"
        files[scheme_name] = (out, derive_variant(out, variant, f"{name} {scheme_name}"))
    if controlled:
        out, began = folder / f"{name}-nncf.onnx", time.monotonic()
        _nncf.accuracy_controlled(source, variant, subject.calibration, subject.controlled, out)
        minutes["nncf"] = round((time.monotonic() - began) / 60, 2)
        files["nncf"] = (out, derive_variant(out, variant, f"{name} nncf"))
    top1 = {each: _top1(*file, subject.shown) for each, file in files.items()}
    latency = _latencies(files, subject.shown[0][0])
    kept = {each: _kept(each, top1, latency) for each in files if each not in ("fp32", "w8a8")}
    nothing = {"top1_recovered": None, "saving_kept": None}
    return {
        "images": len(subject.shown),
        "top1": top1,
        "latency_ms": latency,
        "counts": top1["fp32"] - top1["w8a8"] >= POINT,
        **kept.get("w8a8-mixed", nothing),
        "by_scheme": kept,
        "minutes": minutes,
        "told": told,
    }


def _kept(name: str, top1: dict[str, float], latency: dict[str, float]) -> dict[str, float | None]:
    lost, saved = top1["fp32"] - top1["w8a8"], latency["fp32"] - latency["w8a8"]
    back = (top1[name] - top1["w8a8"]) / lost if lost >= POINT else None
    kept = (latency["fp32"] - latency[name]) / saved if saved > 0 else None
    return {"top1_recovered": back, "saving_kept": kept}


def _top1(path: Path, variant: Variant, shown: Shown) -> float:
    engine = create_engine(str(path), variant, RuntimeOptions("onnxruntime"))
    right = [
        int(engine.run(Preprocessor(image).tensor(variant.input)).argmax()) == label
        for image, label in shown
    ]
    return float(np.mean(right))


def _latencies(files: dict[str, tuple[Path, Variant]], image: Path) -> dict[str, float]:
    """Median milliseconds of each file, in turns."""
    engines = {
        name: (create_engine(str(path), variant, RuntimeOptions("onnxruntime")), variant)
        for name, (path, variant) in files.items()
    }
    times: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(ROUNDS):
        for name, (engine, variant) in engines.items():
            tensor = Preprocessor(image).tensor(variant.input)
            began = time.perf_counter()
            engine.run(tensor)
            times[name].append(1e3 * (time.perf_counter() - began))
    return {name: round(float(np.median(found)), 3) for name, found in times.items()}


if __name__ == "__main__":
    typer.run(main)
