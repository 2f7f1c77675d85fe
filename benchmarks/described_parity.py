"""Is an input what the library makes of a photograph by the configuration that a model came with?

Configurations as transformers' image processors, timm's models and torchvision's weights write
them are read as `trimtab init` reads them; generated photographs of all shapes go through the
library's own preprocessing and through Trimtab's. Told for each: the largest difference in grey
levels. Prints one JSON object as its last line; `within` is the share of configurations without
any but that of arithmetic.

The libraries are no part of Trimtab's environment. Install them into a folder of their own,

    pip install --target FOLDER --no-deps transformers timm torchvision huggingface_hub regex \
        safetensors tokenizers httpx2 httpcore2 h11 truststore tqdm packaging fsspec

and give it as `--packages FOLDER`. What cannot be imported is told, and left out.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image

from benchmarks._options import DEFAULT_DATA, NoData
from benchmarks.preprocess_parity import ARITHMETIC, photograph, torch_operators
from trimtab.variants.inspection.preprocessing import geometry
from trimtab.variants.metadata.description import Description
from trimtab.variants.metadata.hugging_face import read_processor
from trimtab.variants.metadata.module_file import read_module_file
from trimtab.variants.metadata.timm import read_pretrained_config
from trimtab.variants.torch_export.describing import write_description
from trimtab_runtime.formats import InputFormat
from trimtab_runtime.images.preprocess import Preprocessor

#: A processor's class, and what it is given beside its defaults.
_PROCESSORS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ViTImageProcessor", {}),
    ("DeiTImageProcessor", {}),
    ("BeitImageProcessor", {"do_center_crop": True, "size": {"height": 256, "width": 256}}),
    ("CLIPImageProcessor", {}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}),
    ("ConvNextImageProcessor", {}),
    ("LevitImageProcessor", {}),
    ("PoolFormerImageProcessor", {}),
    ("MobileViTImageProcessor", {"size": {"shortest_edge": 288}}),
    ("MobileNetV2ImageProcessor", {}),
    ("EfficientNetImageProcessor", {}),
    ("EfficientNetImageProcessor", {"rescale_offset": True, "rescale_factor": 1 / 127.5}),
)
_TIMM = (
    *("resnet50", "vit_base_patch16_224", "mobilenetv3_small_100", "convnext_tiny"),
    *("tf_efficientnet_b0", "vit_base_patch16_clip_224.openai", "eva02_tiny_patch14_336"),
)
_TORCHVISION = (
    ("resnet18", "IMAGENET1K_V1"),
    ("resnet50", "IMAGENET1K_V2"),
    ("efficientnet_b0", "DEFAULT"),
    ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1"),
)

Original = Callable[[Image.Image], Any]
#: A name, what was read, the library's own preprocessing.
Case = tuple[str, Description, Original]


def main(
    packages: Annotated[
        list[Path] | None, typer.Option(help="folders with the libraries to compare with")
    ] = None,
    images: Annotated[int, typer.Option(help="photographs")] = 20,
    seed: int = 0,
    data: NoData = DEFAULT_DATA,
) -> None:
    """Compare and print."""
    sys.path.extend(str(folder.resolve()) for folder in packages or [])
    operators = torch_operators()
    photographs = [photograph(seed, number) for number in range(images)]
    found, missing = [], {}
    for library, cases in (
        ("transformers", _transformers),
        ("timm", _timm),
        ("torchvision", _torchvision),
    ):
        try:
            for name, description, original in cases():
                largest = max(_apart(description, original, image) for image in photographs)
                print(f"{library:12} {name:60} largest {largest:8.4f}")
                found.append({"library": library, "case": name, "largest": round(largest, 6)})
        except ImportError as error:
            missing[library] = f"{type(error).__name__}: {error}"
            print(f"{library}: not compared ({error})")
    del operators
    within = [case["largest"] <= ARITHMETIC for case in found]
    share = round(float(np.mean(within)), 4) if within else None
    print(
        json.dumps(
            {
                "images": images,
                "within": share,
                "cases": found,
                "missing": missing,
            }
        )
    )


def _apart(description: Description, original: Original, image: Image.Image) -> float:
    """The largest difference in grey levels."""
    said = dict(description.input)
    fmt = InputFormat(
        size=said["size"],
        mean=said["mean"],
        std=said["std"],
        colour=said.get("colour", "rgb"),
        **geometry(said),
    )
    ours = Preprocessor(image).tensor(fmt)[0].astype(np.float64)
    theirs = np.asarray(original(image), np.float64).reshape(ours.shape)
    std = np.array(fmt.std, np.float64).reshape(-1, 1, 1)
    return float((np.abs(ours - theirs) * std).max())


def _transformers() -> Iterator[Case]:
    library = importlib.import_module("transformers")
    for name, given in _PROCESSORS:
        processor = getattr(library, f"{name}Pil")(**given)
        description = read_processor(json.loads(processor.to_json_string()), name)
        yield f"{name} {given or ''}".strip(), description, _of_processor(processor)


def _of_processor(processor: Any) -> Original:
    return lambda image: processor(image, return_tensors="np")["pixel_values"][0]


def _timm() -> Iterator[Case]:
    library = importlib.import_module("timm")
    for name in _TIMM:
        config = library.get_pretrained_cfg(name).to_dict()
        resolved = library.data.resolve_data_config({}, pretrained_cfg=config)
        transform = library.data.create_transform(**resolved)
        yield name, read_pretrained_config(config, name), transform


def _torchvision() -> Iterator[Case]:
    library = importlib.import_module("torchvision.models")
    for name, weights in _TORCHVISION:
        with tempfile.TemporaryDirectory(prefix="trimtab-described-") as folder:
            place, entry = Path(folder) / "model.onnx", f"torchvision.models:{name}"
            write_description(torch.nn.Identity(), entry, {"weights": weights}, place)
            (description,) = read_module_file(place)
        transforms = library.get_model_weights(name)[weights].transforms()
        yield f"{name} {weights}", description, transforms


if __name__ == "__main__":
    typer.run(main)
