"""The networks of sample_models as TFLite files, written with LiteRT's own flatbuffer schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from sample_models import (
    CLASSES,
    MEAN,
    SIZE,
    STD,
    Array,
    Net,
    activations,
    make_net,
    texture_images,
)

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int32": schema.TensorType.INT32,
    "uint8": schema.TensorType.UINT8,
}
_Quantised = tuple[float, int]  # scale, zero point


class _Builder:
    """Collects the tensors and operators of one graph."""

    def __init__(self) -> None:
        self.model = schema.ModelT(version=3, operatorCodes=[], description="tests")
        self.model.buffers = [schema.BufferT()]
        self.graph = schema.SubGraphT(tensors=[], operators=[], name="main")
        self.model.subgraphs = [self.graph]

    def tensor(
        self,
        name: str,
        shape: list[int],
        dtype: str,
        quantised: _Quantised | None = None,
        data: Array | None = None,
    ) -> int:
        buffer = 0
        if data is not None:
            buffer = len(self.model.buffers)
            content = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.model.buffers.append(schema.BufferT(data=content))
        found = schema.TensorT(shape=shape, type=_TYPES[dtype], buffer=buffer, name=name)
        if quantised is not None:
            scale, zero = [quantised[0]], [quantised[1]]
            found.quantization = schema.QuantizationParametersT(scale=scale, zeroPoint=zero)
        self.graph.tensors.append(found)
        return len(self.graph.tensors) - 1

    def operator(
        self, name: str, inputs: list[int], output: int, kind: str = "", options: Any = None
    ) -> None:
        code = getattr(schema.BuiltinOperator, name)
        self.model.operatorCodes.append(
            schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=1)
        )
        found = schema.OperatorT(len(self.model.operatorCodes) - 1, inputs, [output])
        if kind:
            found.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            found.builtinOptions = options
        self.graph.operators.append(found)

    def file(self, image: int, output: int) -> bytes:
        self.graph.inputs, self.graph.outputs = [image], [output]
        return _packed(self.model)


def _range(values: Array) -> _Quantised:
    """uint8 scale and zero point that cover `values` and 0."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 1e-3)
    scale = float(np.float32((high - low) / 255))
    return scale, round(-low / scale)


class _Layers:
    """Adds the layers of a Net; `ranges` is None for float graphs."""

    def __init__(self, ranges: dict[str, _Quantised] | None) -> None:
        self.builder, self.ranges = _Builder(), ranges

    def activation(self, name: str, shape: list[int]) -> int:
        if self.ranges is None:
            return self.builder.tensor(name, shape, "float32")
        return self.builder.tensor(name, shape, "uint8", self.ranges[name])

    def weights(self, name: str, values: Array, bias: Array, source: str) -> list[int]:
        shapes = list(values.shape), list(bias.shape)
        if self.ranges is None:
            return [
                self.builder.tensor(name, shapes[0], "float32", data=values),
                self.builder.tensor(name + "_bias", shapes[1], "float32", data=bias),
            ]
        scale, zero = _range(values)
        stored = np.clip(np.rint(values / scale) + zero, 0, 255).astype(np.uint8)
        step = scale * self.ranges[source][0]
        return [
            self.builder.tensor(name, shapes[0], "uint8", (scale, zero), stored),
            self.builder.tensor(
                name + "_bias",
                shapes[1],
                "int32",
                (step, 0),
                np.rint(bias / step).astype(np.int32),
            ),
        ]

    def conv(self, source: int, output: int, parameters: list[int]) -> None:
        options = schema.Conv2DOptionsT(
            padding=schema.Padding.VALID,
            strideW=2,
            strideH=2,
            fusedActivationFunction=schema.ActivationFunctionType.RELU,
        )
        self.builder.operator("CONV_2D", [source, *parameters], output, "Conv2DOptions", options)


def _ranges(net: Net) -> dict[str, _Quantised]:
    images, _ = texture_images(32, seed=99)
    names = ("conv1", "conv2", "features", "logits")
    ranges = {n: _range(v) for n, v in zip(names, activations(net, images), strict=True)}
    return ranges | {"image": (1 / STD, round(MEAN)), "probabilities": (1 / 256, 0)}


def tflite_model(
    width: int = 8,
    seed: int = 0,
    *,
    quantised: bool = False,
    softmax: bool = True,
    batch: int = 1,
    net: Net | None = None,
) -> bytes:
    """The content of a TFLite file: NHWC, float32 or (`quantised`) uint8 throughout."""
    net = net or make_net(width, seed)
    layers = _Layers(_ranges(net) if quantised else None)
    narrow, wide = len(net.bias1), len(net.bias2)
    side1 = (SIZE - 3) // 2 + 1
    side2 = (side1 - 3) // 2 + 1
    image = layers.activation("image", [batch, SIZE, SIZE, 3])
    conv1 = layers.activation("conv1", [batch, side1, side1, narrow])
    conv2 = layers.activation("conv2", [batch, side2, side2, wide])
    features = layers.activation("features", [batch, wide])
    logits = layers.activation("logits", [batch, CLASSES])
    ohwi = (0, 2, 3, 1)
    kernel1 = layers.weights("kernel1", net.kernel1.transpose(ohwi), net.bias1, "image")
    kernel2 = layers.weights("kernel2", net.kernel2.transpose(ohwi), net.bias2, "conv1")
    head = layers.weights("head", net.head, net.head_bias, "features")
    layers.conv(image, conv1, kernel1)
    layers.conv(conv1, conv2, kernel2)
    add = layers.builder.operator
    axes = layers.builder.tensor("axes", [2], "int32", data=np.array([1, 2], np.int32))
    add("MEAN", [conv2, axes], features, "ReducerOptions", schema.ReducerOptionsT(keepDims=False))
    linear = schema.FullyConnectedOptionsT()
    add("FULLY_CONNECTED", [features, *head], logits, "FullyConnectedOptions", linear)
    if not softmax:
        return layers.builder.file(image, logits)
    output = layers.activation("probabilities", [batch, CLASSES])
    add("SOFTMAX", [logits], output, "SoftmaxOptions", schema.SoftmaxOptionsT(beta=1.0))
    return layers.builder.file(image, output)


def write_tflite(path: Path, width: int = 8, seed: int = 0, **options: Any) -> Path:
    """Write :func:`tflite_model` (same options) and return the path."""
    path.write_bytes(tflite_model(width, seed, **options))
    return path


def with_signatures(models: dict[str, bytes]) -> bytes:
    """One file with a graph and a signature for each of several files."""
    whole = schema.ModelT(version=3, operatorCodes=[], buffers=[schema.BufferT()])
    whole.subgraphs, whole.signatureDefs = [], []
    for number, (name, content) in enumerate(models.items()):
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
        graph = model.subgraphs[0]
        for tensor in graph.tensors:
            tensor.buffer = tensor.buffer and tensor.buffer + len(whole.buffers) - 1
        for operator in graph.operators:
            operator.opcodeIndex += len(whole.operatorCodes)
        whole.buffers += model.buffers[1:]
        whole.operatorCodes += model.operatorCodes
        whole.subgraphs.append(graph)
        ends = [
            [schema.TensorMapT(graph.tensors[index].name, index) for index in each]
            for each in (graph.inputs, graph.outputs)
        ]
        whole.signatureDefs.append(schema.SignatureDefT(ends[0], ends[1], name, number))
    return _packed(whole)


def with_outputs(content: bytes, *names: str) -> bytes:
    """The file with these tensors as its outputs."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    places = {tensor.name.decode(): n for n, tensor in enumerate(model.subgraphs[0].tensors)}
    model.subgraphs[0].outputs = [places[name] for name in names]
    return _packed(model)


def two_inputs() -> bytes:
    """The sum of two images."""
    builder = _Builder()
    images = [builder.tensor(name, [1, SIZE, SIZE, 3], "float32") for name in ("image", "mask")]
    total = builder.tensor("sum", [1, SIZE, SIZE, 3], "float32")
    builder.operator("ADD", images, total, "AddOptions", schema.AddOptionsT())
    builder.graph.inputs, builder.graph.outputs = images, [total]
    return _packed(builder.model)


def _packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
