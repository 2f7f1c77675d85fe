"""Is an input what the library would have made of the photograph that a network was trained with?

Photographs of all shapes (seeded; wide, tall, square, odd, thin, smaller than the input) go
through the preprocessing of Pillow, OpenCV, torchvision, timm, Ultralytics and Keras, and through
Trimtab's with the geometry that stands for it. Told for each: the largest and the mean difference
in grey levels. Where the original is Pillow (or NumPy) nothing may differ, else one grey level.
Prints one JSON object as its last line; `within` is the share of cases that keep to that, without
the `known` ones, which no setting reproduces and which say why.

The libraries are no part of Trimtab's environment. Install them into a folder of their own,

    pip install --target FOLDER --no-deps torchvision timm ultralytics keras namex optree h5py \
        absl-py ml-dtypes safetensors huggingface_hub

and give it as `--packages FOLDER`. What cannot be imported is told, and left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image

from benchmarks._options import DEFAULT_DATA, NoData
from benchmarks._originals import ORIGINALS, Case
from trimtab_runtime.images.preprocess import Preprocessor

#: Differences of float arithmetic, in grey levels.
ARITHMETIC = 1e-3
_LONGEST, _SHORTEST = 900, 24


def main(
    packages: Annotated[
        list[Path] | None, typer.Option(help="folders with the libraries to compare with")
    ] = None,
    images: Annotated[int, typer.Option(help="photographs")] = 200,
    seed: int = 0,
    data: NoData = DEFAULT_DATA,
) -> None:
    """Compare and print."""
    sys.path.extend(str(folder.resolve()) for folder in packages or [])
    operators = torch_operators()
    cases, missing = {}, {}
    for library, originals in ORIGINALS.items():
        try:
            cases[library] = list(originals())
        except (ImportError, RuntimeError) as error:
            missing[library] = f"{type(error).__name__}: {error}"
    photographs = [photograph(seed, number) for number in range(images)]
    found = []
    for library, many in cases.items():
        for case in many:
            row = {"library": library, "case": case.name, **compared(case, photographs)}
            found.append(row)
            far = "" if row["within"] else f"  {case.known or 'TOO FAR'}"
            print(
                f"{library:12} {case.name:46} largest {row['largest']:8.4f}  "
                f"mean {row['mean']:.5f}{far}"
            )
    for library, reason in missing.items():
        print(f"{library}: not compared ({reason})")
    del operators
    print(
        json.dumps(
            {
                "images": images,
                "within": round(float(np.mean([r["within"] for r in found if not r["known"]])), 4),
                "cases": found,
                "missing": missing,
            }
        )
    )


def torch_operators() -> Any:
    """Names of torchvision's compiled operators, which no transform calls: its import asks for
    them, and its own library may be of another PyTorch's."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def photograph(seed: int, number: int) -> Image.Image:
    """A picture with smooth parts, edges and fine grain, of a shape that the number decides."""
    generator = np.random.default_rng([seed, number])
    long = int(generator.integers(60, _LONGEST))
    aspect = (1.0, 4 / 3, 16 / 9, 3.5, float(generator.uniform(1, 2)))[number % 5]
    short = max(int(long / aspect), _SHORTEST)
    width, height = (long, short) if generator.random() < 0.5 else (short, long)
    coarse = generator.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(smooth).astype(np.int16)
    for _ in range(6):
        top, left = generator.integers(0, height), generator.integers(0, width)
        pixels[top : top + height // 4, left : left + width // 5] = generator.integers(0, 256, 3)
    pixels += generator.integers(-20, 21, pixels.shape, dtype=np.int16)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def compared(case: Case, photographs: list[Image.Image]) -> dict[str, Any]:
    """Differences in grey levels, over all photographs."""
    largest, total, count = 0.0, 0.0, 0
    mean, std = np.array(case.ours.mean), np.array(case.ours.std)
    for image in photographs:
        theirs = np.asarray(case.original(image), np.float64)
        ours = Preprocessor(image).tensor(case.ours)[0].astype(np.float64) * std + mean
        apart = np.abs(ours - theirs)
        largest = max(largest, float(apart.max()))
        total, count = total + float(apart.sum()), count + apart.size
    return {
        "largest": round(largest, 6),
        "mean": round(total / count, 6),
        "allowed": case.apart,
        "within": largest <= case.apart + ARITHMETIC,
        "known": case.known,
    }


if __name__ == "__main__":
    typer.run(main)
