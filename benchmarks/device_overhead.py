"""Does a device behind SSH measure other latencies than the same device without?

A small convolutional network, one thread, is measured on this machine and over SSH on loopback, in
turns that begin with either by chance: each a probe of its own. `ratio` is the mean over repeats
of the median latency over SSH to that measured locally, with its 95 % bootstrap interval;
`samples` are the ratios. Prints one JSON object as its last line:

    python -m benchmarks.device_overhead
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import typer
from PIL import Image
from scipy import stats

from benchmarks._options import DEFAULT_DATA, SUPPORT, NoData
from trimtab.profilers import Device, LocalDevice
from trimtab.profilers.ssh import SshDevice
from trimtab.variants import inspect_model, make_variant
from trimtab_runtime.definitions.plan import RuntimeOptions
from trimtab_runtime.probe.measure import PARTS
from trimtab_runtime.probe.requests import MeasureRequest, MeasureSettings, StageFile

_SETTINGS = MeasureSettings(seconds=4.0, min_rounds=64, energy_seconds=0.0)


def main(repeats: int = 20, seed: int = 0, _data: NoData = DEFAULT_DATA) -> None:
    """Measure in turns, and print the figures."""
    if repeats < 10:
        raise typer.BadParameter(f"at least 10 repeats make an interval, got {repeats}")
    with tempfile.TemporaryDirectory() as folder:
        figures = run(Path(folder), repeats, seed)
    print(json.dumps(figures))


def run(folder: Path, repeats: int, seed: int) -> dict[str, Any]:
    sys.path.insert(0, str(SUPPORT))
    from sample_models import INPUT, texture_images, write_onnx
    from ssh_server import SshServer

    model = write_onnx(folder / "model.onnx", width=128)
    variant = make_variant(model, inspect_model(model), INPUT, {}, "model")
    images = []
    for number, pixels in enumerate(texture_images(8, seed=3, size=64)[0]):
        images.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(images[-1])
    server = SshServer(folder / "sshd")
    server.use_environment()
    os.environ["HOME"] = str(server.home)

    def median_ms(device: Device, visit: int) -> float:
        stage = StageFile(device.put(model), variant, RuntimeOptions("onnxruntime"))
        places = tuple(device.put(path) for path in images)
        found = device.probe(MeasureRequest((stage,), places, _SETTINGS, visit))
        parts = [np.array(found.samples[f"0_hot_{part}"]) for part in PARTS]
        return float(np.median(sum(parts)))

    chance, ratios = random.Random(seed), []
    try:
        with SshDevice(server.target) as far:
            near = LocalDevice()
            for number in range(-1, repeats):
                order: list[Device] = [near, far]
                chance.shuffle(order)
                told = {device.address: median_ms(device, number) for device in order}
                if number >= 0:  # the first fills caches
                    ratios.append(told[far.address] / told[near.address])
    finally:
        server.stop()
    values = np.array(ratios)
    interval = stats.bootstrap((values,), np.mean, rng=seed).confidence_interval
    return {
        "ratio": float(values.mean()),
        "interval": [float(interval.low), float(interval.high)],
        "repeats": repeats,
        "samples": ratios,
    }


if __name__ == "__main__":
    typer.run(main)
