"""Networks that take images of any size and resize them themselves, and photos of several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sample_models import CLASSES, MEAN, SIZE, onnx_model, texture_images


def write_any_size(path: Path, width: int = 16, uint8: bool = True) -> Path:
    """The textures' network behind a Cast, a Transpose, a Resize to (32, 32) and its own
    normalisation: NHWC, uint8 or float32 pixels."""
    model = onnx_model(width)
    graph = model.graph
    kind = TensorProto.UINT8 if uint8 else TensorProto.FLOAT
    graph.input[0].CopyFrom(
        helper.make_tensor_value_info("pixels", kind, [1, "height", "width", 3])
    )
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([1, 3, SIZE, SIZE]), "wanted"),
            numpy_helper.from_array(np.float32(MEAN), "mean"),
        ]
    )
    nodes = [
        helper.make_node("Cast", ["pixels"], ["real"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["real"], ["planes"], name="turn", perm=[0, 3, 1, 2]),
        helper.make_node(
            "Resize", ["planes", "", "", "wanted"], ["small"], name="resize", mode="linear"
        ),
        helper.make_node("Sub", ["small", "mean"], ["off"], name="sub"),
        helper.make_node("Div", ["off", "mean"], ["image"], name="div"),
    ]
    for node in reversed(nodes):
        graph.node.insert(0, node)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def write_wide_photos(folder: Path, count: int, seed: int = 5) -> list[Path]:
    """Textures stretched to 64 x 32 and 96 x 40 (width, height), a folder a class."""
    found = []
    for number, (pixels, label) in enumerate(zip(*texture_images(count, seed), strict=True)):
        place = folder / f"class{label}"
        place.mkdir(parents=True, exist_ok=True)
        found.append(place / f"{number:03}.png")
        size = (64, 32) if number % 2 else (96, 40)
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(found[-1])
    assert label < CLASSES
    return found
