"""What cannot be quantised, or hardly, says so in one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bad_models import nan_model, write_model
from onnx import TensorProto, helper, numpy_helper
from sample_models import CLASSES, INPUT, onnx_model, texture_images, write_onnx

from trimtab.variants import (
    derive_variant,
    inspect_model,
    make_variant,
    quantisable,
    quantise_w8a8,
)
from trimtab.variants.quantisation.dynamic import quantise_dynamic
from trimtab_runtime.definitions.plan import Variant
from trimtab_runtime.errors import ModelError

IMAGES = list(texture_images(8, seed=2)[0])


def variant_of(path: Path, **said: Any) -> Variant:
    return make_variant(path, inspect_model(path, (32, 32)), {**INPUT, **said}, {}, "net")


def test_the_image_that_makes_no_number_is_named(tmp_path: Path) -> None:
    source = write_model(nan_model(-0.5), tmp_path / "net.onnx")
    black = [np.zeros((32, 32, 3), np.uint8), *IMAGES]
    with pytest.raises(ModelError, match="calibration image number 0 with NaN or infinity"):
        quantise_w8a8(source, variant_of(source), black, tmp_path / "made.onnx")


def halved(path: Path) -> Path:
    """The network with weights and activations in float16, between float32 ends."""
    model = onnx_model()
    graph = model.graph
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    graph.node[0].input[0], graph.node[-1].output[0] = "half", "half_logits"
    graph.node.insert(0, helper.make_node("Cast", ["image"], ["half"], to=TensorProto.FLOAT16))
    graph.node.append(helper.make_node("Cast", ["half_logits"], ["logits"], to=TensorProto.FLOAT))
    onnx.save(model, str(path))
    return path


def test_half_precision_is_widened(tmp_path: Path) -> None:
    source = halved(tmp_path / "net.onnx")
    made = quantise_w8a8(source, variant_of(source), IMAGES, tmp_path / "made.onnx")
    derive_variant(made, variant_of(source), "net w8a8")
    kinds = {node.op_type for node in onnx.load(str(made)).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


def test_an_operator_whose_output_onnx_does_not_know_is_refused_in_a_line(tmp_path: Path) -> None:
    model = onnx_model()
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    relu = model.graph.node[1]
    relu.op_type, relu.domain = "Gelu", "com.microsoft"
    source = write_model(model, tmp_path / "net.onnx")
    with pytest.raises(ModelError, match=r"^net: cannot be quantised: onnxruntime cannot") as told:
        quantise_w8a8(source, variant_of(source), IMAGES, tmp_path / "made.onnx")
    assert "\n" not in str(told.value)


def test_free_shapes_are_fixed(tmp_path: Path) -> None:
    source = write_onnx(tmp_path / "net.onnx", size="side", batch="n")
    made = quantise_w8a8(source, variant_of(source, size=32), IMAGES, tmp_path / "made.onnx")
    assert inspect_model(made).input_size == (32, 32)


def test_an_operator_that_nobody_knows_is_no_member(tmp_path: Path) -> None:
    model = onnx_model()
    model.opset_import.append(helper.make_opsetid("some.vendor", 1))
    model.graph.node[1].domain, model.graph.node[1].op_type = "some.vendor", "Secret"
    onnx.save(model, str(tmp_path / "net.onnx"))
    with pytest.raises(ModelError, match=r"some\.vendor"):
        quantisable(tmp_path / "net.onnx")


def test_a_graph_that_tells_the_shapes_of_its_weights_is_quantised_dynamically(
    tmp_path: Path,
) -> None:
    model = onnx_model()
    shape = helper.make_tensor_value_info("head", TensorProto.FLOAT, [CLASSES, 16])
    model.graph.value_info.append(shape)  # as exporters of transformers do
    source = write_model(model, tmp_path / "net.onnx")
    quantise_dynamic(source, variant_of(source), [], tmp_path / "made.onnx")
    kinds = {node.op_type for node in onnx.load(str(tmp_path / "made.onnx")).graph.node}
    assert "MatMulInteger" in kinds
