"""A small network with proposals to slim it, and the images that it is learned from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from sample_blocks import conv_block, run_model
from sample_models import texture_images

from trimtab.variants.slimming import LearnRecipe, Network, Proposal, Region, TrainingImages
from trimtab.variants.slimming.network.network import between

Array = np.ndarray[Any, np.dtype[Any]]
COUNT = 48
IMAGES = (
    ((texture_images(COUNT, seed=1)[0].astype(np.float32) - 127.5) / 127.5)
    .transpose(0, 3, 1, 2)
    .astype(np.float32)
)
RECIPE = LearnRecipe(epochs=2, batch=16)


class Feeds:
    """IMAGES one by one, counting how often they were asked for."""

    def __init__(self, images: Array = IMAGES) -> None:
        self.images, self.times = images, 0

    def __call__(self) -> Iterator[Array]:
        self.times += 1
        return iter(self.images[:, None])


def inputs(images: Array = IMAGES) -> TrainingImages:
    return TrainingImages(Feeds(images), f"{len(images)} images")


def propose(network: Network, start: str, end: str, size: int = 3, seed: int = 0) -> Proposal:
    region = Region(start, end)
    shapes = network.shapes[start], network.shapes[end]
    for pads in (None, 0):
        try:
            block = conv_block(*shapes, size, seed, pads, opset=network.opset)
        except StopIteration:
            continue
        return Proposal("conv", region, block, f"{start} to {end}")
    raise AssertionError(shapes)


def content(model: onnx.ModelProto) -> bytes:
    found: bytes = model.SerializeToString(deterministic=True)
    return found


def maps(network: Network, tensor: str, images: Array = IMAGES) -> Array:
    if tensor == network.image:
        return images
    return run_model(between(network, network.image, tensor), images)


class Stop(Exception):
    pass
