"""What a PyTorch module tells of itself: timm's pretrained configuration, the metadata of
torchvision's weights, transformers' names of classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.variants.metadata.description import (
    Description,
    Unreadable,
    class_names,
    image_size,
    normalisation,
)
from trimtab.variants.metadata.hugging_face import read_model_config
from trimtab.variants.metadata.module_file import write_module_file
from trimtab.variants.metadata.timm import read_pretrained_config

if TYPE_CHECKING:
    import torch


def write_description(
    module: torch.nn.Module, entry: str, arguments: Mapping[str, Any], exported: Path
) -> None:
    """Write what a module, made by the callable `entry` with `arguments`, tells of itself beside
    the file that was `exported` from it, for :func:`variants.describe_model`."""
    found = [each for each in _told(module, entry, arguments) if not each.empty]
    if found:
        write_module_file(exported, found)


def _told(
    module: torch.nn.Module, entry: str, arguments: Mapping[str, Any]
) -> Iterator[Description]:
    weights = arguments.get("weights")
    if entry.startswith("torchvision.") and isinstance(weights, str):
        yield from _of_torchvision(entry, weights)
    for part in module.modules():
        config: Any = getattr(part, "pretrained_cfg", None)
        config = config.to_dict() if hasattr(config, "to_dict") else config
        if isinstance(config, Mapping):
            yield read_pretrained_config(config, "the module's pretrained_cfg")
            break
    for part in module.modules():
        names = getattr(getattr(part, "config", None), "id2label", None)
        if isinstance(names, Mapping):
            yield read_model_config({"id2label": names}, "the module's config")
            break


def _of_torchvision(entry: str, name: str) -> Iterator[Description]:
    """The transforms and categories of weights, `IMAGENET1K_V1` or `ResNet18_Weights.DEFAULT`."""
    from torchvision import models

    source = f"torchvision's {name.rpartition('.')[2]}"
    try:
        builder = models.get_model_builder(entry.rpartition(":")[2])
        weights = models.get_model_weights(builder)[name.rpartition(".")[2]]
        preset, meta = weights.transforms(), weights.meta
        labels = class_names(list(meta["categories"])) if "categories" in meta else ()
        yield Description(source, _of_preset(preset), labels)
    except (KeyError, ValueError, AttributeError) as error:
        yield Description(source, problems=(f"{source}: cannot be read ({error})",))


def _of_preset(preset: Any) -> dict[str, Any]:
    """Fields of an input of torchvision's ImageClassification."""
    size, (edge,) = image_size(list(preset.crop_size)), preset.resize_size
    if edge < min(size):
        raise Unreadable(f"it cuts {size} out of {edge}, which is smaller")
    return {
        "size": size,
        "fit": "crop",
        "resize_size": (edge, edge),
        "resize": str(preset.interpolation.value),
        **normalisation(list(preset.mean), list(preset.std), 0.0, 255.0),
    }
