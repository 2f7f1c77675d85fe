"""Model files as exporters leave them: each is opened to one that answers as it should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from exported_models import (
    SAME_ANSWERS,
    ends_with,
    in_front,
    in_functions,
    open_axes,
    save,
    small_model,
    tensor,
    weights_as_inputs,
)
from onnx import helper
from opened_models import IMAGES, LABELS, LOGITS, answers, opened, variant_of
from sample_models import (
    CLASSES,
    INPUT,
    SIZE,
    onnx_model,
)

from trimtab.variants import (
    Executed,
    find_origins,
    find_taps,
    inspect_model,
    make_variant,
    open_view,
    operator_work,
    quantisable,
    quantise_w8a8,
    usable_taps,
)
from trimtab_runtime.errors import ModelError

# ---- one view ----------------------------------------------------------------------------------


def test_a_plain_file_is_its_own_view(tmp_path: Path) -> None:
    view = opened(tmp_path, onnx_model())
    assert view.path == tmp_path / "source.onnx"
    assert view.notes == ()
    assert view.source_sha256 == inspect_model(view.path).sha256


@pytest.mark.parametrize("habit", SAME_ANSWERS)
def test_every_reader_sees_the_same_network(tmp_path: Path, habit: str) -> None:
    """Facts, taps, work and quantisation: of the habit as of the plain file."""
    view = opened(tmp_path, small_model(habit))
    size = (SIZE, SIZE)
    variant = variant_of(view, {**INPUT, "size": SIZE})
    assert np.allclose(answers(view.path, variant), LOGITS, atol=1e-4)
    facts = inspect_model(view.path, size)
    expected = {"Conv": 2, "Relu": 2, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}
    assert dict(facts.operators) == expected
    assert (facts.layout, facts.channels, facts.output_width) == ("nchw", 3, CLASSES)
    assert quantisable(facts)
    plain = save(tmp_path / "plain.onnx", onnx_model())
    assert operator_work(view.path, "onnx", size) == operator_work(plain, "onnx", size)
    quantised = quantise_w8a8(view.path, variant, list(IMAGES), tmp_path / "q.onnx")
    found = answers(quantised, variant)
    assert np.abs(found - LOGITS).mean() < 0.1 * np.abs(LOGITS).mean()
    assert (found.argmax(1) == LABELS).mean() > 0.7


def test_shapes_of_operators_that_only_the_engine_knows_are_found_by_a_run(
    tmp_path: Path,
) -> None:
    """As onnxruntime saves it, with convolutions and activations fused."""
    plain = save(tmp_path / "plain.onnx", onnx_model())
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    onnxruntime.InferenceSession(str(plain), options, providers=["CPUExecutionProvider"])
    view = open_view(tmp_path / "fused.onnx", tmp_path / "view")
    facts = inspect_model(view.path)
    assert dict(facts.operators)["FusedConv"] == 2
    assert np.allclose(answers(view.path, variant_of(view)), LOGITS, atol=1e-4)
    work = [each.multiply_accumulates for each in operator_work(view.path, "onnx")]
    expected = [each.multiply_accumulates for each in operator_work(plain, "onnx")]
    assert sum(work) == sum(expected) > 0
    taps, reason = find_taps(view.path)
    assert (len(taps), reason) == (len(find_taps(plain)[0]), None)
    refusal = quantisable(facts).reason
    assert "it has FusedConv" in refusal
    assert "take the file that it was made of" in refusal


def test_an_open_batch_is_one_image_where_shapes_follow_from_it(tmp_path: Path) -> None:
    """Padding is computed from the image's own shape, as Keras' exporter leaves it."""
    model = open_axes(onnx_model(), ["batch", 3, SIZE, SIZE])
    whole = {"index": np.array([2], np.int64), "two": np.int64(2), "fours": np.zeros(2, np.int64)}
    for name, value in whole.items():
        tensor(model, name, value)
    nodes = [
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Gather", ["shape", "index"], ["side"]),
        helper.make_node("Div", ["side", "two"], ["half"]),
        helper.make_node("Sub", ["half", "half"], ["none"]),
        helper.make_node("Concat", ["fours", "none", "none"] * 2, ["pads"], axis=0),
        helper.make_node("Pad", ["image", "pads"], ["padded"]),
    ]
    model.graph.node[0].input[0] = "padded"
    view = opened(tmp_path, in_front(model, nodes))
    graph = onnx.load(str(view.path)).graph
    assert [side.dim_value for side in graph.input[0].type.tensor_type.shape.dim] == [
        *(1, 3, SIZE, SIZE)
    ]
    assert np.allclose(answers(view.path, variant_of(view)), LOGITS, atol=1e-4)
    assert find_taps(view.path)[0]
    simple = opened(tmp_path, open_axes(onnx_model(), ["batch", 3, SIZE, SIZE]))
    assert simple.path == tmp_path / "source.onnx"


def test_layers_of_a_file_without_names_are_told(tmp_path: Path) -> None:
    view = opened(tmp_path, in_functions(small_model("nameless")))
    names = [node.name for node in onnx.load(view.path).graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    convolutions = [name for name in names if "Conv" in name]
    origins = find_origins(view.path, [Executed(name, "Conv") for name in convolutions])
    assert all(origin.multiply_accumulates for origin in origins)


def test_taps_of_a_file_with_functions(tmp_path: Path) -> None:
    view = opened(tmp_path, in_functions(onnx_model()))
    plain = save(tmp_path / "plain.onnx", onnx_model())
    places, reason = usable_taps(view.path, 3, (SIZE, SIZE))
    assert reason is None
    assert [place.name for place in places] == [
        place.name for place in usable_taps(plain, 3, (SIZE, SIZE))[0]
    ]


def test_a_quantised_file_stays_quantised(tmp_path: Path) -> None:
    plain = save(tmp_path / "plain.onnx", onnx_model())
    variant = make_variant(plain, inspect_model(plain), INPUT, {}, "m")
    made = quantise_w8a8(plain, variant, list(IMAGES), tmp_path / "q.onnx")
    before = inspect_model(made)
    view = open_view(made, tmp_path / "view")
    after = inspect_model(view.path)
    assert dict(after.operators)["DequantizeLinear"] == dict(before.operators)["DequantizeLinear"]
    assert np.array_equal(answers(view.path, variant), answers(made, variant))


def test_the_original_is_used_where_a_plain_graph_has_other_bits(tmp_path: Path) -> None:
    """Batch normalisation whose weights are inputs is not fused into the convolution before; what
    the plain graph answers differs in the last bits."""
    model = onnx_model()
    rng = np.random.default_rng(0)
    names = [
        tensor(model, name, rng.uniform(0.5, 1.5, 16).astype(np.float32))
        for name in ("scale", "shift", "mean", "variance")
    ]
    normalised = helper.make_node("BatchNormalization", ["conv2", *names], ["bn"], name="bn")
    model.graph.node.insert(3, normalised)
    model.graph.node[4].input[0] = "bn"
    view = opened(tmp_path, weights_as_inputs(model))
    assert view.path == tmp_path / "source.onnx"
    assert "used as it stands: made plain (weights are no inputs)" in view.notes[0]


# ---- versions and engines' messages ------------------------------------------------------------


def test_a_newer_intermediate_representation_is_lowered(tmp_path: Path) -> None:
    model = onnx_model()
    model.ir_version = 99
    view = opened(tmp_path, model)
    assert view.notes[0].startswith("its IR version 99 is lowered to ")
    assert np.allclose(answers(view.path, variant_of(view)), LOGITS, atol=1e-4)


def test_a_newer_opset_is_converted_and_compared(tmp_path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    model = onnx.version_converter.convert_version(onnx_model(softmax=True), newest)
    model.ir_version = onnx.IR_VERSION
    source = save(tmp_path / "source.onnx", model)
    try:
        onnxruntime.InferenceSession(str(source))
    except Exception:  # onnxruntime's errors share no public base class
        expected = True
    else:
        expected = False
    view = open_view(source, tmp_path / "view")
    assert any(f"opset {newest} is converted" in note for note in view.notes) is expected
    assert "not compared" not in str(view.notes)
    found = answers(view.path, variant_of(view))
    assert np.array_equal(found.argmax(1), LOGITS.argmax(1))


def test_an_opset_that_nobody_knows_is_refused_with_both_versions(tmp_path: Path) -> None:
    model = onnx_model()
    model.opset_import[0].version = 99
    with pytest.raises(ModelError, match=r"it is of opset 99, onnxruntime \S+ knows opset \d+"):
        opened(tmp_path, model)


def test_a_custom_operator_is_refused_for_the_engines_reason(tmp_path: Path) -> None:
    model = onnx_model()
    node = helper.make_node("MySwish", ["logits"], ["scores"], domain="acme.ops", name="s")
    model.opset_import.append(helper.make_opsetid("acme.ops", 1))
    with pytest.raises(ModelError) as refused:
        opened(tmp_path, ends_with(model, node, shape=[1, CLASSES]))
    assert str(refused.value).endswith("acme.ops:MySwish(-1) is not a registered function/op")
