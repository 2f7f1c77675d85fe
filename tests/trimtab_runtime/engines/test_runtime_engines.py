"""Both engines: the same answers as without us, and clear refusals."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper
from sample_models import onnx_model, write_onnx
from sample_tflite import write_tflite

from trimtab_runtime.definitions.plan import (
    GRAPH_LEVELS,
    InputFormat,
    OutputFormat,
    Quantisation,
    RuntimeOptions,
    Variant,
)
from trimtab_runtime.engines import create_engine, engine_accelerators, engine_versions
from trimtab_runtime.engines.base import real_outputs
from trimtab_runtime.errors import EngineError, InferenceError, ModelError
from trimtab_runtime.images.preprocess import Preprocessor

ORT = RuntimeOptions("onnxruntime")
LITE = RuntimeOptions("litert")


@pytest.mark.parametrize("level", GRAPH_LEVELS)
@pytest.mark.parametrize("threads", [1, 2])
def test_onnx_answers_as_onnxruntime_does(
    zoo: Mapping[str, Any], noise: Any, level: str, threads: int
) -> None:
    member = zoo["small"]
    options = dataclasses.replace(ORT, threads=threads, graph_optimisation=level)
    engine = create_engine(str(member.path), member.variant, options)
    direct = onnxruntime.InferenceSession(str(member.path), providers=["CPUExecutionProvider"])
    for image in noise[:5]:
        tensor = Preprocessor(image).tensor(member.variant.input)
        (expected,) = direct.run(None, {"image": tensor})
        found = engine.run(tensor)
        assert found.dtype == np.float32
        assert found.shape == (4,)
        np.testing.assert_allclose(found, expected[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("provider", ["default", "XNNPACK", "builtin"])
@pytest.mark.parametrize("name", ["lite", "bytes"])
def test_tflite_answers_as_litert_does(
    zoo: Mapping[str, Any], noise: Any, name: str, provider: str
) -> None:
    member = zoo[name]
    options = dataclasses.replace(LITE, provider=provider)
    engine = create_engine(str(member.path), member.variant, options)
    direct = Interpreter(str(member.path))
    direct.allocate_tensors()
    output = direct.get_output_details()[0]
    scale, zero = output["quantization"]
    for image in noise[:5]:
        tensor = Preprocessor(image).tensor(member.variant.input)
        direct.set_tensor(direct.get_input_details()[0]["index"], tensor)
        direct.invoke()
        raw = direct.get_tensor(output["index"])[0].astype(np.float64)
        expected = (raw - zero) * scale if name == "bytes" else raw
        found = engine.run(tensor)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 + 1.01 * scale)


@pytest.mark.parametrize(
    ("provider", "delegated"), [("default", True), ("XNNPACK", True), ("builtin", False)]
)
def test_builtin_runs_without_a_delegate(
    zoo: Mapping[str, Any], provider: str, delegated: bool
) -> None:
    options = dataclasses.replace(LITE, provider=provider)
    engine: Any = create_engine(str(zoo["lite"].path), zoo["lite"].variant, options)
    operators = [found["op_name"] for found in engine._interpreter._get_ops_details()]
    assert "CONV_2D" in operators
    assert ("DELEGATE" in operators) == delegated


LOAD = """
import sys
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.formats import InputFormat, OutputFormat
from trimtab_runtime.engines import create_engine

variant = Variant("m", "0", "onnx", 1, InputFormat((32, 32)), OutputFormat())
create_engine(sys.argv[1], variant, RuntimeOptions("onnxruntime"))
"""


def test_onnxruntime_leaves_no_trace_of_its_own(zoo: Mapping[str, Any], tmp_path: Path) -> None:
    """Official builds send telemetry, and keep its session in the temp folder, unless told."""
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    (tmp_path / "temp").mkdir()
    subprocess.run(
        [sys.executable, "-c", LOAD, str(zoo["tiny"].path)],
        env={**environment, "TMPDIR": str(tmp_path / "temp")},
        check=True,
    )
    assert list((tmp_path / "temp").iterdir()) == []


def test_an_answer_is_not_overwritten_by_the_next(zoo: Mapping[str, Any], noise: Any) -> None:
    for member in zoo.values():
        engine = create_engine(str(member.path), member.variant, member.options)
        first = engine.run(Preprocessor(noise[0]).tensor(member.variant.input))
        before = first.copy()
        second = engine.run(Preprocessor(noise[1]).tensor(member.variant.input))
        assert np.array_equal(first, before)
        assert not np.array_equal(first, second)


@pytest.mark.parametrize("shape", [(6,), (1, 6), (1, 6, 1, 1)])
def test_one_row_of_outputs_whatever_its_shape(shape: tuple[int, ...]) -> None:
    raw = np.arange(6, dtype=np.float32).reshape(shape)
    assert real_outputs(raw, OutputFormat()).tolist() == [0, 1, 2, 3, 4, 5]
    assert real_outputs(raw, OutputFormat(offset=2)).tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize(("dtype", "zero"), [(np.uint8, 3), (np.int8, -128)])
def test_outputs_are_dequantised_without_overflow(dtype: type, zero: int) -> None:
    limits = np.iinfo(dtype)
    raw = np.array([[limits.min, 0, limits.max]], dtype)
    found = real_outputs(raw, OutputFormat(quantisation=Quantisation(0.5, zero)))
    assert found.dtype == np.float32
    assert found.tolist() == [(value - zero) * 0.5 for value in raw[0].tolist()]


def test_other_floats_become_float32() -> None:
    found = real_outputs(np.array([[0.5, 1.5]], np.float16), OutputFormat())
    assert found.dtype == np.float32
    assert found.tolist() == [0.5, 1.5]


def test_the_background_is_dropped_by_the_engine(tmp_path: Path, noise: Any) -> None:
    path = write_onnx(tmp_path / "m.onnx", 4)
    fmt = InputFormat((40, 40), mean=(127.5,), std=(127.5,))
    dynamic = write_onnx(tmp_path / "d.onnx", 4, size="side")
    whole = Variant("m", "0" * 64, "onnx", 1, fmt, OutputFormat())
    cut = dataclasses.replace(whole, output=OutputFormat(offset=1))
    tensor = Preprocessor(noise[0]).tensor(fmt)
    full = create_engine(str(dynamic), whole, ORT).run(tensor)
    assert np.array_equal(create_engine(str(dynamic), cut, ORT).run(tensor), full[1:])
    with pytest.raises(InferenceError, match=r"^m: .*(dimension|shape|Got|INVALID)"):
        create_engine(str(path), whole, ORT).run(tensor)


def test_a_tensor_that_tflite_does_not_take(zoo: Mapping[str, Any]) -> None:
    member = zoo["lite"]
    engine = create_engine(str(member.path), member.variant, LITE)
    with pytest.raises(InferenceError, match=r"^lite: "):
        engine.run(np.zeros((1, 8, 8, 3), np.float32))
    with pytest.raises(InferenceError, match=r"^lite: "):
        engine.run(np.zeros((1, 32, 32, 3), np.uint8))


def test_an_offset_that_leaves_nothing(zoo: Mapping[str, Any], noise: Any) -> None:
    member = zoo["tiny"]
    variant = dataclasses.replace(member.variant, output=OutputFormat(offset=4))
    engine = create_engine(str(member.path), variant, ORT)
    with pytest.raises(InferenceError, match="offset"):
        engine.run(Preprocessor(noise[0]).tensor(variant.input))


@pytest.mark.parametrize(("name", "options"), [("tiny", LITE), ("lite", ORT)])
def test_the_wrong_engine(zoo: Mapping[str, Any], name: str, options: RuntimeOptions) -> None:
    with pytest.raises(EngineError, match=f"{options.engine} does not run .* files .{name}."):
        create_engine(str(zoo[name].path), zoo[name].variant, options)


@pytest.mark.parametrize(
    ("name", "provider", "message"),
    [
        ("tiny", "CUDAExecutionProvider", "has no CUDAExecutionProvider here, only .*CPU"),
        ("tiny", "XNNPACK", "has no XNNPACK here"),
        ("lite", "CPUExecutionProvider", "has no CPUExecutionProvider, only XNNPACK, builtin"),
    ],
)
def test_a_provider_that_is_not_there(
    zoo: Mapping[str, Any], name: str, provider: str, message: str
) -> None:
    options = dataclasses.replace(zoo[name].options, provider=provider)
    with pytest.raises(EngineError, match=message):
        create_engine(str(zoo[name].path), zoo[name].variant, options)


OTHERS = engine_accelerators() or [
    pytest.param("", marks=pytest.mark.skip("this build of onnxruntime runs on the CPU alone"))
]


@pytest.mark.parametrize("provider", OTHERS)
def test_another_provider_answers_as_the_cpu(
    zoo: Mapping[str, Any], noise: Any, provider: str
) -> None:
    member = zoo["small"]
    options = dataclasses.replace(member.options, provider=provider)
    own = create_engine(str(member.path), member.variant, options)
    plain = create_engine(str(member.path), member.variant, member.options)
    for image in noise[:5]:
        tensor = Preprocessor(image).tensor(member.variant.input)
        np.testing.assert_allclose(own.run(tensor), plain.run(tensor), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated"])
@pytest.mark.parametrize("name", ["tiny", "lite", "bytes"])
def test_a_file_that_is_no_model(
    zoo: Mapping[str, Any], tmp_path: Path, name: str, damage: str
) -> None:
    member = zoo[name]
    path, whole = tmp_path / member.path.name, member.path.read_bytes()
    if damage != "missing":
        content = {"empty": b"", "text": b"not a model", "truncated": whole[: len(whole) // 2]}
        path.write_bytes(content[damage])
    with pytest.raises(ModelError, match=f"^{name}: .* cannot load it"):
        create_engine(str(path), member.variant, member.options)


def two_sided(inputs: int, outputs: int) -> onnx.ModelProto:
    """Sums of `inputs` tensors, given out `outputs` times."""
    names = [f"in{number}" for number in range(inputs)]
    results = [f"out{number}" for number in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node("Sum", names, [result]) for result in results],
        "sums",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 4, 4]) for n in names],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 4, 4]) for n in results],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


@pytest.mark.parametrize(("inputs", "outputs"), [(2, 1), (1, 2)])
def test_several_inputs_or_outputs(
    tmp_path: Path, variant_of: Callable[..., Variant], inputs: int, outputs: int
) -> None:
    path = tmp_path / "sums.onnx"
    path.write_bytes(two_sided(inputs, outputs).SerializeToString())
    with pytest.raises(ModelError, match=f"one output, this model has {inputs} and {outputs}"):
        create_engine(str(path), variant_of(path), ORT)


def test_a_graph_with_an_operator_that_nobody_knows(
    tmp_path: Path, variant_of: Callable[..., Variant]
) -> None:
    model = onnx_model(2)
    model.graph.node[0].op_type = "Convolute"
    path = tmp_path / "odd.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="Convolute"):
        create_engine(str(path), variant_of(path), ORT)


def test_the_versions_are_those_installed() -> None:
    found = engine_versions()
    assert found["onnxruntime"] == onnxruntime.__version__
    assert found["litert"].startswith("ai-edge-litert 2.")


def test_a_quantised_file_agrees_with_the_float_one(
    tmp_path: Path, variant_of: Callable[..., Variant], noise: Any
) -> None:
    """Same network, three files: float ONNX, float TFLite, uint8 TFLite."""
    fmt = InputFormat((32, 32), mean=(127.5,), std=(127.5,))
    nhwc = dataclasses.replace(fmt, layout="nhwc")
    raw = InputFormat((32, 32), layout="nhwc", dtype="uint8")
    kind = OutputFormat("probabilities")
    stored = OutputFormat("probabilities", quantisation=Quantisation(1 / 256, 0))
    a, b = write_onnx(tmp_path / "a.onnx", 8, softmax=True), tmp_path / "b.tflite"
    write_tflite(b, 8)
    c = write_tflite(tmp_path / "c.tflite", 8, quantised=True)
    engines = [
        (create_engine(str(a), variant_of(a, input=fmt, output=kind), ORT), fmt),
        (create_engine(str(b), variant_of(b, input=nhwc, output=kind), LITE), nhwc),
        (create_engine(str(c), variant_of(c, input=raw, output=stored), LITE), raw),
    ]
    for image in noise[:20]:
        prepared = Preprocessor(image)
        onnx_row, float_row, byte_row = (e.run(prepared.tensor(f)) for e, f in engines)
        np.testing.assert_allclose(float_row, onnx_row, atol=1e-5)
        np.testing.assert_allclose(byte_row, onnx_row, atol=0.1)
