"""Networks made plain, their regions, and blocks put in the place of regions."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from sample_models import GraphDrawer, texture_images, write_inverted, write_onnx, write_residual

from trimtab.variants import make_variant, quantise_w8a8
from trimtab.variants.inspection.facts import inspect_model
from trimtab.variants.slimming.network.network import (
    Network,
    Region,
    extract,
    is_region,
    overlaps,
    plain_network,
    read_network,
    region_nodes,
    replace,
    write_network,
)
from trimtab_runtime.errors import ModelError

Array = np.ndarray[Any, np.dtype[Any]]


def write_mixed(path: Path, **said: Any) -> Path:
    """Stem with BatchNorm, pooling and LRN; an Inception block; a residual block with an option A
    shortcut (Slice and Pad); names that a block uses too."""
    draw = GraphDrawer(seed=3)
    x = draw.op("Relu", draw.batch_norm(draw.conv("image", 8, 5, 2)))
    x = draw.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    x = draw.op("LRN", x, size=5)
    one = draw.op("Relu", draw.conv(x, 4, 1))
    three = draw.op("Relu", draw.conv(draw.op("Relu", draw.conv(x, 4, 1)), 6))
    pool = draw.op("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    x = draw.op("Concat", one, three, draw.conv(pool, 2, 1), width=12, axis=1)
    inner = draw.conv(draw.op("Relu", draw.conv(x, 16, stride=2)), 16)
    for name, values in (("st", [0, 0]), ("en", [99, 99]), ("ax", [2, 3]), ("by", [2, 2])):
        draw.weights.append(numpy_helper.from_array(np.array(values), name))
    draw.weights.append(numpy_helper.from_array(np.array([0, 2, 0, 0, 0, 2, 0, 0]), "pads"))
    short = draw.op("Pad", draw.op("Slice", x, "st", "en", "ax", "by"), "pads")
    x = draw.op("Relu", draw.op("Add", inner, short), width=16)
    x = draw.op("Identity", draw.op("Dropout", x))
    draw.write(path, draw.head(x), **said)
    model = onnx.load(str(path))
    for node in model.graph.node:  # the names of blocks' ends, inside the graph
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name.startswith("lrn"):
                    names[index] = "output"
                elif name.startswith("concat"):
                    names[index] = "input"
    onnx.save(model, str(path))
    return path


def run(model: onnx.ModelProto | Path, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    found: Array = session.run(None, {session.get_inputs()[0].name: x})[0]
    return found


def image(size: int = 32, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 1, (1, 3, size, size)).astype(np.float32)


def operators(network: Network) -> set[str]:
    return {node.op_type for node in network.model.graph.node}


def tensors(network: Network) -> list[str]:
    return [network.image, *network.makers]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return read_network(write_mixed(tmp_path_factory.mktemp("mixed") / "mixed.onnx"))


def test_a_plain_network_answers_as_its_file(tmp_path: Path) -> None:
    path = write_mixed(tmp_path / "mixed.onnx")
    network = read_network(path)
    np.testing.assert_allclose(run(network.model, image()), run(path, image()), rtol=1e-4)
    assert not {"BatchNormalization", "Identity", "Dropout"} & operators(network)
    assert network.shapes[network.image] == (1, 3, 32, 32)
    assert network.shapes[network.output] == (1, 4)
    assert network.shapes["output"] == (1, 8, 8, 8)
    assert set(network.weights) <= set(network.shapes)
    assert {n.op_type for n in network.readers["output"]} == {"Conv", "MaxPool"}
    assert network.makers["input"].op_type == "Concat"
    again = read_network(path)
    assert again.model.SerializeToString(deterministic=True) == network.model.SerializeToString(
        deterministic=True
    )


def test_shapes_are_those_that_the_engine_makes(mixed: Network) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(mixed.model)
    names = list(mixed.makers)
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(names, {mixed.image: image()})
    assert {n: v.shape for n, v in zip(names, found, strict=True)} == {
        n: mixed.shapes[n] for n in names
    }


@pytest.mark.parametrize("batch", [1, "n"])
def test_open_sizes_are_fixed(tmp_path: Path, batch: int | str) -> None:
    path = write_mixed(tmp_path / "open.onnx", size="side", batch=batch)
    assert read_network(path, (40, 48)).shapes["image"] == (1, 3, 40, 48)
    with pytest.raises(ModelError, match=r"say its size"):
        read_network(path)


def test_every_region_replaced_by_itself_changes_no_bit(tmp_path: Path) -> None:
    """All regions between carriers, of networks of every kind."""
    networks = [
        read_network(write_mixed(tmp_path / "mixed.onnx")),
        read_network(write_residual(tmp_path / "residual.onnx", batch_norm=True, width=4)[0]),
        read_network(write_inverted(tmp_path / "inverted.onnx", width=2)[0]),
    ]
    tried = 0
    for network in networks:
        carriers = [network.image, *network.flow.carriers, network.output]
        expected = run(network.model, image())
        for start, end in itertools.combinations(carriers, 2):
            region = Region(start, end)
            part = extract(network, region)
            onnx.checker.check_model(part, full_check=True)
            whole = replace(network, [(region, part)])
            np.testing.assert_array_equal(run(whole, image()), expected, err_msg=str(region))
            tried += 1
    assert tried > 300


def test_regions_are_what_one_tensor_enters_and_one_leaves(mixed: Network) -> None:
    """Over all pairs of tensors, against the definition: taking the nodes out of the graph leaves
    nothing that reads their inside, and they read nothing else."""
    found = 0
    for start, end in itertools.permutations(tensors(mixed), 2):
        if not is_region(mixed, Region(start, end)):
            continue
        found += 1
        nodes = region_nodes(mixed, Region(start, end))
        inside = {name for node in nodes for name in node.output}
        read = {name for node in nodes for name in node.input} - set(mixed.weights) - {""}
        assert read - inside == {start} and end in inside
        others = [n for n in mixed.model.graph.node if n.output[0] not in inside]
        assert not {name for n in others for name in n.input} & (inside - {end})
        assert mixed.output not in inside - {end}
        part = extract(mixed, Region(start, end))
        assert [v.name for v in (*part.graph.input, *part.graph.output)] == ["input", "output"]
        onnx.checker.check_model(part, full_check=True)
        whole = replace(mixed, [(Region(start, end), part)])
        np.testing.assert_array_equal(run(whole, image()), run(mixed.model, image()))
    carriers = len(mixed.flow.carriers) + 2
    assert found > carriers * (carriers - 1) / 2, "branches have regions too"


def test_several_regions_side_by_side_and_in_a_row(mixed: Network) -> None:
    carriers = [mixed.image, *mixed.flow.carriers, mixed.output]
    regions = [Region(a, b) for a, b in itertools.pairwise(carriers)]
    whole = replace(mixed, [(r, extract(mixed, r)) for r in reversed(regions)])
    np.testing.assert_array_equal(run(whole, image()), run(mixed.model, image()))
    names = [name for node in whole.graph.node for name in node.output]
    assert len(names) == len(set(names))
    assert set(carriers) <= {mixed.image, *names}
    assert replace(mixed, []).SerializeToString(
        deterministic=True
    ) == mixed.model.SerializeToString(deterministic=True)


def halver(shape: tuple[int, ...], opset: int = 17) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Mul", ["input", "half"], ["output"])],
        "half",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.float32(0.5), "half")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def test_a_block_takes_the_place_of_its_region(mixed: Network) -> None:
    start, end = "output", "input"  # the Inception block's
    shrunk = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "image"], ["output"]),  # a name that is taken
        ],
        "b",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, mixed.shapes[start])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, mixed.shapes[end])],
        [numpy_helper.from_array(np.ones((12, 8, 1, 1), np.float32), "image")],
    )
    block = helper.make_model(shrunk, opset_imports=[helper.make_opsetid("", 17)])
    model = replace(mixed, [(Region(start, end), block)])
    onnx.checker.check_model(model, full_check=True)
    after = plain_network(model)
    assert after.shapes == {n: s for n, s in mixed.shapes.items() if n in after.shapes} | {
        "input/image": (12, 8, 1, 1)
    }
    assert after.makers["input"].op_type == "Conv"
    prefix = run(extract(mixed, Region(mixed.image, start)), image())
    ones = np.broadcast_to(prefix.sum(1, keepdims=True), mixed.shapes[end]).astype(np.float32)
    behind = run(extract(mixed, Region(end, mixed.output)), ones)
    np.testing.assert_allclose(run(model, image()), behind, rtol=1e-4, atol=1e-5)


def test_blocks_that_do_not_fit_are_refused(mixed: Network) -> None:
    region = Region("output", "input")
    with pytest.raises(ModelError, match="does not fit the region"):
        replace(mixed, [(region, halver((1, 8, 8, 8)))])
    relu = next(n for n in mixed.model.graph.node if n.op_type == "Relu")
    single = Region(relu.input[0], relu.output[0])
    shape = mixed.shapes[relu.output[0]]
    with pytest.raises(ModelError, match="opset 18 does not fit a network of opset 17"):
        replace(mixed, [(single, halver(shape, 18))])
    with pytest.raises(ModelError, match="regions overlap"):
        wide = Region(mixed.image, relu.output[0])
        replace(mixed, [(single, halver(shape)), (wide, extract(mixed, wide))])
    turned = halver(shape)
    turned.graph.input[0].name = "x"
    with pytest.raises(ModelError, match="one input 'input' and one output 'output'"):
        replace(mixed, [(single, turned)])


def test_regions_overlap_where_they_share_a_node(mixed: Network) -> None:
    first, second, third = list(mixed.flow.carriers)[:3]
    low, high, both = Region(first, second), Region(second, third), Region(first, third)
    assert overlaps(mixed, low, both) and overlaps(mixed, both, high)
    assert overlaps(mixed, low, low) and not overlaps(mixed, low, high)


def test_networks_are_written_whole_or_not_at_all(mixed: Network, tmp_path: Path) -> None:
    out = tmp_path / "new" / "net.onnx"
    write_network(mixed.model, out)
    np.testing.assert_array_equal(run(out, image()), run(mixed.model, image()))
    assert read_network(out).shapes == mixed.shapes
    broken = onnx.ModelProto()
    broken.CopyFrom(mixed.model)
    del broken.graph.node[3]
    with pytest.raises(ModelError, match=r"bad\.onnx: no sound network"):
        write_network(broken, tmp_path / "bad.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_what_is_no_region_says_why(mixed: Network) -> None:
    concat = mixed.makers["input"]
    first = next(iter(mixed.flow.carriers))
    for start, end, reason in [
        ("w0", "input", "no tensor that the network computes"),
        ("nowhere", "input", "no tensor that the network computes"),
        ("output", "output", "no tensor that follows"),
        ("input", "output", "no way leads there"),
        (concat.input[0], "input", "enter as well"),
        (mixed.image, concat.input[0], "is read outside"),
        ("output", concat.input[1], None),
    ]:
        if reason is None:
            assert is_region(mixed, Region(start, end))
            continue
        assert not is_region(mixed, Region(start, end))
        with pytest.raises(ModelError, match=reason):
            region_nodes(mixed, Region(start, end))
    assert is_region(mixed, Region(mixed.image, first))


def small(*nodes: onnx.NodeProto, kind: int = TensorProto.FLOAT, inputs: int = 1) -> Any:
    image = [1, 3, 8, 8]
    return helper.make_model(
        helper.make_graph(
            list(nodes),
            "g",
            [helper.make_tensor_value_info(n, kind, image) for n in ("x", "z")[:inputs]],
            [helper.make_tensor_value_info("y", kind, None)],
            [numpy_helper.from_array(np.zeros(1, np.float32), "zero")],
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)],
        ir_version=8,
    )


RELU = helper.make_node("Relu", ["x"], ["y"])
REFUSED = {
    "needs one image in": small(helper.make_node("Add", ["x", "z"], ["y"]), inputs=2),
    "not ONNX's own (mine.Best)": small(helper.make_node("Best", ["x"], ["y"], domain="mine")),
    "is not float32": small(RELU, kind=TensorProto.FLOAT16),
    "control flow (If)": small(
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Cast", ["m"], ["c"], to=TensorProto.BOOL),
        helper.make_node(
            "If",
            ["c"],
            ["y"],
            then_branch=helper.make_graph(
                [helper.make_node("Relu", ["x"], ["t"])],
                "t",
                [],
                [helper.make_tensor_value_info("t", TensorProto.FLOAT, [1, 3, 8, 8])],
            ),
            else_branch=helper.make_graph(
                [helper.make_node("Abs", ["x"], ["e"])],
                "e",
                [],
                [helper.make_tensor_value_info("e", TensorProto.FLOAT, [1, 3, 8, 8])],
            ),
        ),
    ),
    "stays unknown": small(
        helper.make_node("NonZero", ["x"], ["n"]),
        helper.make_node("Cast", ["n"], ["y"], to=TensorProto.FLOAT),
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_slimmed_says_why(tmp_path: Path, reason: str) -> None:
    path = tmp_path / "bad.onnx"
    onnx.save(REFUSED[reason], str(path))
    with pytest.raises(ModelError) as caught:
        read_network(path)
    assert str(caught.value).startswith("bad.onnx: cannot be slimmed: ")
    assert reason in str(caught.value)


def test_quantised_and_damaged_files_are_refused(tmp_path: Path) -> None:
    source = write_onnx(tmp_path / "a.onnx", width=2)
    said = {"mean": 127.5, "std": 127.5}
    variant = make_variant(source, inspect_model(source), said, {}, "m")
    images = list(texture_images(4)[0])
    with pytest.raises(ModelError, match="is quantised already"):
        read_network(quantise_w8a8(source, variant, images, tmp_path / "q.onnx"))
    (tmp_path / "cut.onnx").write_bytes(source.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"^cut\.onnx: damaged"):
        read_network(tmp_path / "cut.onnx")
