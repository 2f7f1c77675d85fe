"""Transformers as timm and torchvision export them: are they members, can they be quantised, cut
at taps, and fed smaller images?

    pip install --target DIR --no-deps timm torchvision safetensors huggingface_hub pyyaml
    python -m benchmarks.transformer_precision --packages DIR

Weights are random, so the figures say whether a scheme works on a graph, not what it costs in
accuracy. Prints a table, and one JSON object as its last line: `networks` by name, with what
became of each, step by step, or the reason; `missing` are packages that were not found.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from torch import nn

from benchmarks._networks import _import
from benchmarks._options import DEFAULT_DATA, ROOT, SUPPORT, NoData
from trimtab.variants import SCHEMES, export_module, inspect_model, make_variant, usable_taps
from trimtab.variants.quantisation.mixed import MixedRecipe
from trimtab.variants.sizes.resizing import text_of, try_sizes
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines import create_engine
from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.images.preprocess import Preprocessor

#: By the name of this table: package and architecture.
NETWORKS = {
    "ViT": ("timm", "vit_tiny_patch16_224"),
    "ViT (torchvision)": ("torchvision", "vit_b_32"),
    "DeiT": ("timm", "deit_tiny_patch16_224"),
    "Swin": ("timm", "swin_tiny_patch4_window7_224"),
    "ConvNeXt": ("timm", "convnext_atto"),
    "MobileViT": ("timm", "mobilevit_xxs"),
    "EfficientFormer": ("timm", "efficientformer_l1"),
    "MobileNetV4": ("timm", "mobilenetv4_conv_small"),
    "FastViT": ("timm", "fastvit_t8"),
}
SIZE, CLASSES = 224, 10
INPUT = {"mean": 127.5, "std": 127.5}
_STEPS = ("member", "w8", "w8a8", "w8a8-mixed", "taps", "sizes")


def network(package: str, name: str, packages: str) -> nn.Module:
    """A network with random weights."""
    sys.path.append(packages)
    _import("torchvision")
    torch.manual_seed(0)
    module = _import(package)
    make = module.create_model if package == "timm" else module.models.get_model
    made: nn.Module = make(name, num_classes=CLASSES)
    return made.eval()


def main(
    packages: Annotated[
        Path | None, typer.Option(help="folder with timm and torchvision, where not installed")
    ] = None,
    only: Annotated[str, typer.Option(help="names of the table, separated by commas")] = "",
    images: Annotated[int, typer.Option(help="to calibrate on, and to compare answers on")] = 8,
    blocks: Annotated[int, typer.Option(help="that mixed precision tells apart")] = 8,
    _data: NoData = DEFAULT_DATA,
) -> None:
    sys.path.insert(0, str(SUPPORT))
    from sample_models import texture_images

    found: dict[str, dict[str, Any]] = {}
    if packages is not None:
        sys.path.append(str(packages))
    wanted = {package for package, _ in NETWORKS.values()}
    missing = sorted(package for package in wanted if find_spec(package) is None)
    with tempfile.TemporaryDirectory(prefix="transformers-") as place:
        shown = []
        for number, pixels in enumerate(texture_images(images, seed=1, size=SIZE)[0]):
            shown.append(Path(place) / f"{number}.png")
            Image.fromarray(pixels).save(shown[-1])
        for name, (package, architecture) in NETWORKS.items():
            if package in missing or (only and name not in only.split(",")):
                continue
            began, path = time.monotonic(), Path(place) / "network.onnx"
            arguments = {"package": package, "name": architecture, "packages": str(packages or "")}
            row = _row(path, arguments, shown, blocks)
            found[name] = {**row, "seconds": round(time.monotonic() - began)}
            typer.echo(f"| {name} | " + " | ".join(str(row.get(s, "")) for s in _STEPS) + " |")
    typer.echo(json.dumps({"networks": found, "missing": missing}))


def _row(
    path: Path, arguments: dict[str, Any], images: Sequence[Path], blocks: int
) -> dict[str, Any]:
    row: dict[str, Any] = {}

    def step(name: str, do: Callable[[], str]) -> None:
        try:
            row[name] = do()
        except TrimtabError as error:
            row[name] = str(error)

    entry = "benchmarks.transformer_precision:network"
    step("member", lambda: _member(entry, arguments, path))
    if not path.is_file():
        return row
    variant = make_variant(path, inspect_model(path), INPUT, {}, arguments["name"])
    for scheme in ("w8", "w8a8", "w8a8-mixed"):
        step(scheme, lambda scheme=scheme: _quantised(scheme, path, variant, images, blocks))  # type: ignore[misc]  # mypy cannot tell the type of a lambda with a default
    step("taps", lambda: _taps(path))
    step("sizes", lambda: _sizes(path, variant))
    return row


def _member(entry: str, arguments: dict[str, Any], path: Path) -> str:
    path.unlink(missing_ok=True)
    export_module(entry, arguments, None, SIZE, path, folder=ROOT)
    facts = inspect_model(path)
    return f"yes, {facts.size_bytes / 2**20:.1f} MB, {sum(n for _, n in facts.operators)} nodes"


def _quantised(
    name: str, path: Path, variant: Variant, images: Sequence[Path], blocks: int
) -> str:
    scheme = SCHEMES[name]
    suits = scheme.suits(inspect_model(path))
    if not suits:
        return suits.reason
    recipe = MixedRecipe(blocks=blocks, max_images=len(images)) if scheme.scores else scheme.recipe
    out = path.with_name(f"{name}.onnx")
    told = scheme.make(path, variant, images, out, recipe) or {}
    answers = [_answers(each, variant, images) for each in (path, out)]
    same = float((answers[0].argmax(1) == answers[1].argmax(1)).mean())
    kept = f", {len(told['float_blocks'])} of {blocks} in float" if "float_blocks" in told else ""
    return f"{out.stat().st_size / 2**20:.1f} MB, {same:.0%} same{kept}"


def _answers(path: Path, variant: Variant, images: Sequence[Path]) -> np.ndarray[Any, Any]:
    engine = create_engine(str(path), variant, RuntimeOptions("onnxruntime"))
    return np.stack([engine.run(Preprocessor(each).tensor(variant.input)) for each in images])


def _taps(path: Path) -> str:
    places, reason = usable_taps(path)
    return f"{len(places)}" if places else f"none: {reason}"


def _sizes(path: Path, variant: Variant) -> str:
    with tempfile.TemporaryDirectory(prefix="sizes-") as folder:
        tried = try_sizes(path, variant, None, Path(folder))
    runs = [text_of(trial.size) for trial in tried if not trial.reason]
    why = next((trial.reason for trial in tried if trial.reason), "none is smaller")
    return ", ".join(runs) or f"own only: {why}"


if __name__ == "__main__":
    typer.run(main)
