"""Networks as people bring them: a transformer, one that int8 spoils, one whose file describes
it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sample_models import CLASSES, MEAN, SIZE, STD, Net, make_net, onnx_model, texture_images
from sklearn.linear_model import LogisticRegression

_TOKENS, _DEPTH, _HEADS = 64, 24, 3


def turned_net(width: int = 16) -> Net:
    """The textures' network with outputs in the order class1, class0, class3, class2."""
    net, order = make_net(width), [1, 0, 3, 2]
    return replace(net, head=net.head[order], head_bias=net.head_bias[order])


def write_outliers(path: Path, width: int = 16, factor: float = 3000.0) -> Path:
    """The textures' network, with one channel that is `factor` times as large as the others and
    divided by that later: the same float answers, and none that int8 activations can tell."""
    net = make_net(width)
    kernel1, bias1, kernel2 = net.kernel1.copy(), net.bias1.copy(), net.kernel2.copy()
    kernel1[0] *= factor
    bias1[0] *= factor
    kernel2[:, 0] /= factor
    model = onnx_model(width, net=replace(net, kernel1=kernel1, bias1=bias1, kernel2=kernel2))
    path.write_bytes(model.SerializeToString())
    return path


def write_transformer(path: Path) -> Path:
    """Patches of 4x4, two blocks of attention with LayerNormalization, and a head fitted on
    textures: all its work but the patches is MatMul."""
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {
        "kernel": rng.normal(0, 0.3, (_DEPTH, 3, 4, 4)),
        "places": rng.normal(0, 0.1, (1, _TOKENS, _DEPTH)),
        "one": np.ones(_DEPTH),
        "zero": np.zeros(_DEPTH),
        "half": np.array(0.5),
        "root": np.array(2**0.5),
        "unit": np.array(1.0),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["patches"], strides=[4, 4]),
        helper.make_node("Reshape", ["patches", "flat"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["tokens"], perm=[0, 2, 1]),
        helper.make_node("Add", ["tokens", "places"], ["x0"]),
    ]
    for block in range(2):
        nodes += _block(block, weights, rng)
    nodes += [
        helper.make_node("LayerNormalization", ["x2", "one", "zero"], ["last"], axis=-1),
        helper.make_node("ReduceMean", ["last"], ["pooled"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["pooled", "head", "head_bias"], ["logits"], transB=1),
    ]
    shapes = {"flat": np.array([1, _DEPTH, _TOKENS]), "split": np.array([1, _TOKENS, _HEADS, -1])}
    shapes["joined"] = np.array([1, _TOKENS, _DEPTH])
    initialisers = [
        *(numpy_helper.from_array(v.astype(np.float32), name) for name, v in weights.items()),
        *(numpy_helper.from_array(value, name) for name, value in shapes.items()),
    ]
    body = _model(nodes[:-1], initialisers, "pooled", [1, _DEPTH])
    images, labels = texture_images(400, seed=7)
    session = onnxruntime.InferenceSession(body.SerializeToString())
    tensors = ((images - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
    features = np.concatenate([session.run(None, {"image": x[None]})[0] for x in tensors])
    fitted = LogisticRegression(max_iter=2000).fit(features, labels)
    head = [("head", fitted.coef_), ("head_bias", fitted.intercept_)]
    initialisers += [numpy_helper.from_array(v.astype(np.float32), name) for name, v in head]
    path.write_bytes(_model(nodes, initialisers, "logits", [1, CLASSES]).SerializeToString())
    return path


def _block(
    number: int, weights: dict[str, np.ndarray], rng: np.random.Generator
) -> list[onnx.NodeProto]:
    """Attention and two layers with GELU (as its Erf), each with what it gets added."""

    def name(what: str) -> str:
        return f"{what}_{number}"

    for what, shape in (("q", 1), ("k", 1), ("v", 1), ("o", 1), ("wide", 2)):
        weights[name(what)] = rng.normal(0, _DEPTH**-0.5, (_DEPTH, shape * _DEPTH))
    weights[name("narrow")] = rng.normal(0, (2 * _DEPTH) ** -0.5, (2 * _DEPTH, _DEPTH))
    x, nodes = f"x{number}", list[onnx.NodeProto]()

    def add(kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [name(output)], **attributes))
        return name(output)

    normed = add("LayerNormalization", [x, "one", "zero"], "normed", axis=-1)
    sides = {}
    for what, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        made = add("MatMul", [normed, name(what)], f"{what}_all")
        apart = add("Reshape", [made, "split"], f"{what}_apart")
        sides[what] = add("Transpose", [apart], f"{what}_heads", perm=perm)
    scores = add("MatMul", [sides["q"], sides["k"]], "scores")
    share = add("Softmax", [scores], "share", axis=-1)
    seen = add("MatMul", [share, sides["v"]], "seen")
    joined = add("Reshape", [add("Transpose", [seen], "turned", perm=[0, 2, 1, 3]), "joined"], "j")
    middle = add("Add", [x, add("MatMul", [joined, name("o")], "out")], "middle")
    again = add("LayerNormalization", [middle, "one", "zero"], "again", axis=-1)
    wide = add("MatMul", [again, name("wide")], "hidden")
    erf = add("Erf", [add("Div", [wide, "root"], "scaled")], "erf")
    gelu = add("Mul", [add("Mul", [wide, add("Add", [erf, "unit"], "up")], "gated"), "half"], "g")
    nodes.append(
        helper.make_node(
            "Add", [middle, add("MatMul", [gelu, name("narrow")], "back")], [f"x{number + 1}"]
        )
    )
    return nodes


def _model(
    nodes: list[onnx.NodeProto],
    initialisers: list[onnx.TensorProto],
    output: str,
    shape: list[int],
) -> onnx.ModelProto:
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "transformer",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [tensor for tensor in initialisers if tensor.name in read],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
