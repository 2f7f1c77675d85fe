"""What mixed precision brings back of what w8a8 loses, and what it keeps of its speed.

    python -m benchmarks.mixed_precision

Three EfficientNet-Lites with heads for solar cells (the demo's members, made by
`examples/solar_cells/build.py` in `--folder` where they are not there yet) are quantised on
training photographs, one thread. Top-1 is of the demo's photographs, which nothing was fitted on;
latencies are medians of interleaved rounds. Prints one JSON object as its last line: per member
`top1` and `latency_ms` of every precision, `top1_recovered` (the share of what w8a8 loses that is
back; None where it loses less than a point), `saving_kept` (the share of its time saving that is
kept) and `minutes`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks._options import DEFAULT_DATA, ROOT, NoData
from trimtab.variants import SCHEMES, NothingToGain, derive_variant, inspect_model, make_variant
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines import create_engine
from trimtab_runtime.fingerprint import fingerprint
from trimtab_runtime.images.preprocess import Preprocessor

CALIBRATED_ON, ROUNDS = 100, 60
POINT = 0.01
SCHEMES_TRIED = ("w8a8", "w8a8-full", "w8a8-mixed")


def main(
    folder: Annotated[Path, typer.Option(help="the demo's folder, kept")] = Path(
        "demo-output/solar_cells"
    ),
    images: Annotated[int, typer.Option(help="photographs that top-1 is of")] = 1200,
    members: Annotated[str, typer.Option(help="separated by commas")] = "lite0,lite1,lite2",
    _data: NoData = DEFAULT_DATA,
) -> None:
    sys.path.insert(0, str(ROOT / "examples" / "solar_cells"))
    from build import MEMBERS, build

    build(folder, lambda step, done, total: None)
    training = sorted((folder / "training").rglob("*.png"))
    calibration = training[:: max(1, len(training) // CALIBRATED_ON)][:CALIBRATED_ON]
    shown = sorted((folder / "photographs").rglob("*.png"))
    shown = shown[:: max(1, len(shown) // images)][:images]
    found = {}
    for member in MEMBERS:
        if member.name in members.split(","):
            found[member.name] = _measured(folder, member, calibration, shown)
            typer.echo(f"{member.name}: {json.dumps(found[member.name])}")
    machine = {name: fingerprint().get(name) for name in ("cpu", "cores", "isa")}
    typer.echo(json.dumps({"images": len(shown), "machine": machine, **found}))


def _measured(
    folder: Path, member: Any, calibration: Sequence[Path], shown: Sequence[Path]
) -> dict[str, Any]:
    source = folder / "models" / f"{member.name}.onnx"
    said = {"size": member.size, "resize": "bicubic", "mean": 127, "std": 128}
    variant = make_variant(source, inspect_model(source), said, {}, member.name)
    files, minutes, told = {"fp32": (source, variant)}, {}, {}
    for name in SCHEMES_TRIED:
        scheme, out = SCHEMES[name], folder / f"{member.name}-{name}.onnx"
        began = time.monotonic()
        try:
            told[name] = scheme.make(source, variant, calibration, out, scheme.recipe)
        except NothingToGain as reason:
            told[name] = str(reason)
            continue
        minutes[name] = round((time.monotonic() - began) / 60, 2)
        files[name] = (out, derive_variant(out, variant, f"{member.name} {name}"))
    top1 = {name: _top1(*file, shown) for name, file in files.items()}
    latency = _latencies(files, shown[0])
    return {
        "top1": top1,
        "latency_ms": latency,
        **_kept(top1, latency),
        "minutes": minutes,
        "told": told["w8a8-mixed"],
    }


def _kept(top1: dict[str, float], latency: dict[str, float]) -> dict[str, float | None]:
    lost, saved = top1["fp32"] - top1["w8a8"], latency["fp32"] - latency["w8a8"]
    if "w8a8-mixed" not in top1:
        return {"top1_recovered": None, "saving_kept": None}
    back = (top1["w8a8-mixed"] - top1["w8a8"]) / lost if lost >= POINT else None
    kept = (latency["fp32"] - latency["w8a8-mixed"]) / saved if saved > 0 else None
    return {"top1_recovered": back, "saving_kept": kept}


def _top1(path: Path, variant: Variant, shown: Sequence[Path]) -> float:
    engine = create_engine(str(path), variant, RuntimeOptions("onnxruntime"))
    classes = sorted({each.parent.name for each in shown})
    right = [
        classes[int(engine.run(Preprocessor(each).tensor(variant.input)).argmax())]
        == each.parent.name
        for each in shown
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
