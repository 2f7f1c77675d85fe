"""w8a8 of small real networks."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from sample_models import INPUT, activations, make_net, texture_images, write_onnx
from sample_tflite import write_tflite

from trimtab.variants import (
    QuantisationRecipe,
    derive_variant,
    inspect_model,
    make_variant,
    quantisable,
    quantise_w8a8,
)
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines import create_engine
from trimtab_runtime.errors import ModelError, WorkloadError
from trimtab_runtime.images.preprocess import Preprocessor


def member(path: Path, **said: Any) -> Variant:
    return make_variant(path, inspect_model(path), {**INPUT, **said}, {}, "m")


def answers(path: Path, variant: Variant, images: Any) -> Any:
    engine = create_engine(str(path), variant, RuntimeOptions("onnxruntime"))
    return np.stack([engine.run(Preprocessor(i).tensor(variant.input)) for i in images])


def layers_in_int8(path: Path) -> list[str]:
    graph = onnx.load(str(path)).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    return [
        node.op_type
        for node in graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul")
        and all(made_by.get(name) == "DequantizeLinear" for name in node.input[:2])
    ]


@pytest.fixture(scope="module")
def calibration() -> list[Any]:
    return list(texture_images(24, seed=11)[0])


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
@pytest.mark.parametrize("softmax", [False, True])
def test_quantised_networks_are_nearly_as_good(
    tmp_path: Path,
    calibration: list[Any],
    method: str,
    softmax: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    source = write_onnx(tmp_path / "a.onnx", width=16, softmax=softmax)
    parent = member(source)
    recipe = QuantisationRecipe(method=method, reduce_range=True)
    out = quantise_w8a8(source, parent, calibration, tmp_path / "q.onnx", recipe)
    assert capfd.readouterr() == ("", "")
    variant = derive_variant(out, parent, "m/w8a8")
    images, labels = texture_images(100, seed=12)
    expected = (activations(make_net(16), images)[3].argmax(1) == labels).mean()
    found = answers(out, variant, images)
    assert (found.argmax(1) == labels).mean() > expected - 0.1
    assert len(np.unique(found)) > 300, "scores lie on a coarse grid"
    assert layers_in_int8(out) == ["Conv", "Conv", "Gemm"]
    assert variant.output.kind == ("probabilities" if softmax else "logits")
    assert variant.size_bytes < 1.2 * parent.size_bytes
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.onnx", "q.onnx"]


def test_activations_are_unsigned_and_weights_signed_per_channel(
    tmp_path: Path, calibration: list[Any]
) -> None:
    source = write_onnx(tmp_path / "a.onnx", width=8)
    out = quantise_w8a8(source, member(source), calibration, tmp_path / "q.onnx")
    tensors = {t.name: t for t in onnx.load(str(out)).graph.initializer}
    assert tensors["kernel1_quantized"].data_type == TensorProto.INT8
    assert list(tensors["kernel1_scale"].dims) == [8]
    assert tensors["image_zero_point"].data_type == TensorProto.UINT8


def test_layers_may_stay_float(tmp_path: Path, calibration: list[Any]) -> None:
    source = write_onnx(tmp_path / "a.onnx")
    variant, out = member(source), tmp_path / "q.onnx"
    first = QuantisationRecipe(float_first=1)
    assert layers_in_int8(quantise_w8a8(source, variant, calibration, out, first)) == [
        "Conv",
        "Gemm",
    ]
    last = QuantisationRecipe(float_last=1)
    assert layers_in_int8(quantise_w8a8(source, variant, calibration, out, last)) == ["Conv"] * 2
    with pytest.raises(ModelError, match="no Conv, Gemm, MatMul of it could be quantised"):
        quantise_w8a8(source, variant, calibration, out, QuantisationRecipe(float_last=3))


def test_the_output_may_be_quantised_too(tmp_path: Path, calibration: list[Any]) -> None:
    source = write_onnx(tmp_path / "a.onnx")
    variant = member(source)
    recipe = QuantisationRecipe(float_output=False)
    out = quantise_w8a8(source, variant, calibration, tmp_path / "q.onnx", recipe)
    found = answers(out, derive_variant(out, variant, "q"), texture_images(100, seed=12)[0])
    assert len(np.unique(found)) <= 256


def test_dynamic_axes_and_nhwc(tmp_path: Path, calibration: list[Any]) -> None:
    source = write_onnx(tmp_path / "a.onnx", layout="nhwc", batch="n", size="s")
    variant = member(source, size=[32, 40])
    out = quantise_w8a8(source, variant, calibration, tmp_path / "q.onnx")
    facts = inspect_model(out)
    assert (facts.input_size, facts.layout) == ((32, 40), "nhwc")


def test_images_may_be_files(tmp_path: Path, calibration: list[Any]) -> None:
    source = write_onnx(tmp_path / "a.onnx")
    paths = []
    for index, image in enumerate(calibration[:3]):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(image).save(paths[-1])
    outs = [
        quantise_w8a8(source, member(source), images, tmp_path / f"{index}.onnx")
        for index, images in enumerate((paths, calibration[:3], [str(p) for p in paths]))
    ]
    assert len({out.read_bytes() for out in outs}) == 1
    paths[1].write_bytes(b"no image")
    with pytest.raises(WorkloadError, match=r"1\.png: cannot be read"):
        quantise_w8a8(source, member(source), paths, tmp_path / "q.onnx")
    assert not (tmp_path / "q.onnx").exists()


def test_every_image_widens_the_ranges(tmp_path: Path) -> None:
    source = write_onnx(tmp_path / "a.onnx")
    variant = member(source)
    dark, light = np.full((32, 32, 3), 90, np.uint8), np.full((32, 32, 3), 255, np.uint8)
    outs = [
        quantise_w8a8(source, variant, images, tmp_path / f"{index}.onnx").read_bytes()
        for index, images in enumerate(([dark, light], [light, dark], [dark], [light]))
    ]
    assert outs[0] == outs[1]
    assert len(set(outs)) == 3


def test_a_seeded_sample_is_used_of_many_images(tmp_path: Path, calibration: list[Any]) -> None:
    source = write_onnx(tmp_path / "a.onnx")
    variant, recipe = member(source), QuantisationRecipe(max_images=2)
    contents = [
        quantise_w8a8(source, variant, calibration, tmp_path / "q.onnx", recipe, s).read_bytes()
        for s in (0, 0, 1)
    ]
    assert contents[0] == contents[1] != contents[2]


def test_another_process_writes_the_same_bytes(tmp_path: Path, calibration: list[Any]) -> None:
    source = write_onnx(tmp_path / "a.onnx")
    out = quantise_w8a8(source, member(source), calibration, tmp_path / "q.onnx")
    np.save(tmp_path / "images.npy", np.stack(calibration))
    code = (
        "import sys, numpy as np; from trimtab.variants import *; f = sys.argv[1] + '/'; "
        "s = f + 'a.onnx'; said = {'mean': 127.5, 'std': 127.5}; "
        "v = make_variant(s, inspect_model(s), said, {}, 'm'); "
        "quantise_w8a8(s, v, list(np.load(f + 'images.npy')), f + 'r.onnx')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(__file__).parents[3],
        env={"PYTHONHASHSEED": "7", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "r.onnx").read_bytes() == out.read_bytes()


def test_no_images_no_calibration(tmp_path: Path) -> None:
    source = write_onnx(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="needs images to calibrate on"):
        quantise_w8a8(source, member(source), [], tmp_path / "q.onnx")


def test_what_cannot_be_quantised_says_why(tmp_path: Path, calibration: list[Any]) -> None:
    source = write_onnx(tmp_path / "a.onnx")
    assert quantisable(source)
    assert quantisable(inspect_model(source)).reason == ""
    out = quantise_w8a8(source, member(source), calibration, tmp_path / "q.onnx")
    assert "quantised already" in quantisable(out).reason
    with pytest.raises(ModelError, match="quantised already"):
        quantise_w8a8(out, member(out), calibration, tmp_path / "r.onnx")
    assert "only ONNX" in quantisable(write_tflite(tmp_path / "a.tflite")).reason
    node = helper.make_node("GlobalAveragePool", ["x"], ["y"])
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 1, 1]),
    ]
    graph = helper.make_graph([node], "pool", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "pool.onnx").write_bytes(model.SerializeToString())
    assert quantisable(tmp_path / "pool.onnx").reason == "it has no Conv, Gemm, MatMul to quantise"


def test_temporary_files_are_gone(
    tmp_path: Path, calibration: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_onnx(tmp_path / "a.onnx")
    variant = member(source)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    quantise_w8a8(source, variant, calibration, tmp_path / "q.onnx")
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "magic"}, "method must be one of"),
        ({"percentile": 0.0}, "0 < percentile <= 100"),
        ({"float_first": -1}, "float_first >= 0"),
        ({"max_images": 0}, "max_images >= 1"),
    ],
)
def test_recipes_are_checked(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuantisationRecipe(**wrong)
