"""Segments answer as the whole does, bit for bit, and read the vectors at the taps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from sample_models import (
    INPUT,
    GraphDrawer,
    texture_images,
    write_inverted,
    write_onnx,
    write_residual,
)

from trimtab.variants import (
    Head,
    assert_same_answers,
    cut_segments,
    export_module,
    find_taps,
    inspect_model,
    make_variant,
    quantise_w8a8,
    read_head,
    usable_taps,
)
from trimtab_runtime.errors import ModelError

Array = np.ndarray[Any, np.dtype[Any]]


def write_quantised(path: Path) -> Path:
    source, _ = write_residual(path.with_name("float.onnx"))
    variant = make_variant(source, inspect_model(source), INPUT, {}, "m")
    return quantise_w8a8(source, variant, list(texture_images(8)[0]), path)


def write_odd_width(path: Path) -> Path:
    """Channels that fill no whole block of 8 or 16."""
    return write_residual(path, width=20)[0]


def write_dense(path: Path) -> Path:
    """Blocks that concatenate what they make to what they got."""
    draw = GraphDrawer()
    x = draw.conv("image", 16)
    for _ in range(3):
        grown = draw.conv(draw.op("Relu", draw.batch_norm(x)), 8)
        x = draw.op("Concat", x, grown, axis=1, width=draw.widths[x] + 8)
    return draw.write(path, draw.head(draw.op("Relu", draw.batch_norm(x))))


def write_exported(path: Path) -> Path:
    """A PyTorch module through the exporter."""
    code = (
        "import torch\n"
        "from torch import nn\n"
        "class Block(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv, self.norm = nn.Conv2d(16, 16, 3, 1, 1), nn.BatchNorm2d(16)\n"
        "    def forward(self, x):\n"
        "        return (x + self.norm(self.conv(x))).relu()\n"
        "def net():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.ReLU(), Block(), Block(), Block(),\n"
        "        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))\n"
    )
    (path.parent / "cutnets.py").write_text(code)
    export_module("cutnets:net", {}, None, 32, path, folder=path.parent)
    return path


def first(write: Callable[[Path], tuple[Path, list[str]]]) -> Callable[[Path], Path]:
    return lambda path: write(path)[0]


NETWORKS: dict[str, Callable[[Path], Path]] = {
    "plain": write_onnx,
    "nhwc": lambda path: write_onnx(path, layout="nhwc"),
    "residual": first(write_residual),
    "batch norm": lambda path: write_residual(path, batch_norm=True)[0],
    "odd width": write_odd_width,
    "open sizes": lambda path: write_residual(path, size="s", batch="n")[0],
    "depthwise": first(write_inverted),
    "dense": write_dense,
    "quantised": write_quantised,
    "exported": write_exported,
}


def session(path: Path, optimised: Path | None = None) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if optimised:
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(path: Path, tensor: Array) -> dict[str, Array]:
    """Outputs by name, in order."""
    loaded = session(path)
    names = [value.name for value in loaded.get_outputs()]
    return dict(zip(names, loaded.run(None, {loaded.get_inputs()[0].name: tensor}), strict=True))


def image(path: Path) -> Array:
    shape = session(path).get_inputs()[0].shape
    sizes = [d if isinstance(d, int) else 32 for d in shape[1:]]
    return np.random.default_rng(3).normal(0, 1, (1, *sizes)).astype(np.float32)


def names_of(path: Path) -> list[str]:
    return [tap.name for tap in find_taps(path, (32, 32))[0]]


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_segments_answer_as_the_whole(tmp_path: Path, kind: str) -> None:
    path = NETWORKS[kind](tmp_path / "a.onnx")
    taps = find_taps(path, (32, 32))[0]
    assert taps
    assert usable_taps(path, 99, (32, 32)) == (taps, None)
    segments = cut_segments(path, [t.name for t in taps], tmp_path / "cut")
    assert [s.name for s in segments] == [f"segment_{i}.onnx" for i in range(len(taps) + 1)]
    assert_same_answers(path, segments, size=(32, 32))
    tensor = image(path)
    expected = run(path, tensor)
    for segment, tap in zip(segments, taps, strict=False):
        outputs = run(segment, tensor)
        assert list(outputs) == [tap.name, "vector"]
        assert outputs["vector"].shape == (1, tap.channels)
        assert outputs["vector"].dtype == np.float32
        tensor = outputs[tap.name]
    (name, answer), *none = run(segments[-1], tensor).items()
    assert (name, none) == (next(iter(expected)), [])
    assert answer.tobytes() == expected[name].tobytes()


@pytest.mark.parametrize("kind", ["residual", "quantised"])
def test_vectors_are_means_over_space(tmp_path: Path, kind: str) -> None:
    path = NETWORKS[kind](tmp_path / "a.onnx")
    tap = names_of(path)[1]
    segment, _ = cut_segments(path, [tap], tmp_path)
    carried, vector = run(segment, image(path)).values()
    values = carried.astype(np.float64)
    if kind == "quantised":
        assert carried.dtype == np.uint8
        graph = onnx.load(str(path)).graph
        maker = next(node for node in graph.node if tap in node.output)
        constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        scale, zero = (float(constants[name]) for name in maker.input[1:])
        values = (values - zero) * scale
    np.testing.assert_allclose(vector[0], values.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    assert vector.std() > 0.01


@pytest.mark.parametrize("kind", ["residual", "odd width", "exported", "quantised"])
def test_fusion_survives(tmp_path: Path, kind: str) -> None:
    """The segments' optimised graphs compute with the operators of the whole's."""

    def operators(path: Path) -> dict[str, int]:
        session(path, tmp_path / "optimised.onnx")
        graph = onnx.load(str(tmp_path / "optimised.onnx")).graph
        kinds = [node.op_type for node in graph.node]
        wanted = ("Conv", "QLinearConv", "Add", "QLinearAdd", "Relu", "QuantizeLinear")
        return {kind: kinds.count(kind) for kind in wanted}

    path = NETWORKS[kind](tmp_path / "a.onnx")
    whole = operators(path)
    parts = [operators(s) for s in cut_segments(path, names_of(path), tmp_path / "cut")]
    summed = {kind: sum(part[kind] for part in parts) for kind in whole}
    if kind == "odd width":  # the identity that keeps a shortcut blocked is a Conv
        assert summed.pop("Conv") >= whole.pop("Conv")
    assert summed == whole


def test_heads_live_in_the_segments(tmp_path: Path) -> None:
    path, _ = write_residual(tmp_path / "a.onnx")
    taps = find_taps(path)[0]
    rng = np.random.default_rng(0)
    heads = {
        tap.name: Head(
            rng.normal(0, 1, (4, tap.channels)).astype(np.float32),
            rng.normal(0, 1, 4).astype(np.float32),
        )
        for tap in taps[1:3]
    }
    names = [tap.name for tap in taps[:3]]
    segments = cut_segments(path, names, tmp_path / "cut", heads)
    tensor = image(path)
    for segment, name in zip(segments, names, strict=False):
        outputs = run(segment, tensor)
        tensor = outputs[name]
        assert list(outputs)[2:] == (["logits"] if name in heads else [])
        if name in heads:
            found = outputs["logits"]
            assert found.shape == (1, 4)
            wanted = heads[name].logits(outputs["vector"])
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
            kept = read_head(segment)
            np.testing.assert_array_equal(kept.weight, heads[name].weight)
            np.testing.assert_array_equal(kept.bias, heads[name].bias)
        else:
            with pytest.raises(ModelError, match="has no head"):
                read_head(segment)
    assert_same_answers(path, segments)


def test_heads_read_a_grid_of_means(tmp_path: Path) -> None:
    path, _ = write_residual(tmp_path / "a.onnx")
    tap = next(tap for tap in find_taps(path)[0] if tap.grid > 1)
    cells = tap.grid**2
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (4, tap.channels * cells)).astype(np.float32)
    head = Head(weight, np.zeros(4, np.float32))
    coarse = cut_segments(path, [tap.name], tmp_path / "coarse", {tap.name: head})
    fine = cut_segments(path, [tap.name], tmp_path / "fine", None, {tap.name: tap.grid})
    tensor = image(path)
    plain, grid = run(coarse[0], tensor), run(fine[0], tensor)["vector"]
    side = plain[tap.name].shape[2] // tap.grid
    pixels = plain[tap.name].reshape(1, tap.channels, tap.grid, side, tap.grid, side)
    np.testing.assert_allclose(grid, pixels.mean((3, 5)).reshape(1, -1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(plain["logits"], head.logits(grid), rtol=1e-4, atol=1e-4)
    means = grid.reshape(1, tap.channels, cells).mean(2)
    np.testing.assert_allclose(plain["vector"], means, rtol=1e-5, atol=1e-6)
    assert_same_answers(path, coarse)


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    path = write_quantised(tmp_path / "a.onnx")
    names = names_of(path)

    def digests(folder: str) -> list[str]:
        segments = cut_segments(path, names, tmp_path / folder)
        return [hashlib.sha256(s.read_bytes()).hexdigest() for s in segments]

    assert digests("b") == digests("c")
    assert len(set(digests("b"))) == len(names) + 1


def test_segments_share_out_the_weights(tmp_path: Path) -> None:
    path, _ = write_residual(tmp_path / "a.onnx", batch_norm=True)
    segments = cut_segments(path, names_of(path), tmp_path / "cut")
    held = [t.name for s in segments for t in onnx.load(str(s)).graph.initializer]
    assert sorted(held) == sorted(t.name for t in onnx.load(str(path)).graph.initializer)


def test_names_in_use_are_left_alone(tmp_path: Path) -> None:
    path, ends = write_residual(tmp_path / "a.onnx")
    model = onnx.load(str(path))
    for node in model.graph.node[:2]:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = {"conv_0": "vector"}.get(name, name)
    onnx.save(model, str(path))
    segments = cut_segments(path, ends[:1], tmp_path)
    assert list(run(segments[0], image(path))) == [ends[0], "vector_"]
    assert_same_answers(path, segments)


def test_wrong_cuts_say_why(tmp_path: Path) -> None:
    path, ends = write_residual(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="no tensor that alone carries everything"):
        cut_segments(path, ["conv_2"], tmp_path / "cut")
    with pytest.raises(ModelError, match="in network order"):
        cut_segments(path, [ends[1], ends[0]], tmp_path / "cut")
    with pytest.raises(ModelError, match="in network order"):
        cut_segments(path, [ends[0], ends[0]], tmp_path / "cut")
    head = Head(np.zeros((4, 7), np.float32), np.zeros(4, np.float32))
    with pytest.raises(ModelError, match="takes 7 channels, the tap has 16"):
        cut_segments(path, ends[:1], tmp_path / "cut", {ends[0]: head})
    with pytest.raises(ModelError, match="heads for"):
        cut_segments(path, ends[:1], tmp_path / "cut", {ends[1]: head})
