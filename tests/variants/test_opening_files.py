"""Model files as exporters leave them: each is opened to one that answers as it should."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from exported_models import (
    SAME_ANSWERS,
    add_output,
    ends_with,
    half,
    in_front,
    in_functions,
    label_and_zipmap,
    of_type,
    one_score,
    open_axes,
    save,
    small_model,
    tensor,
    weights_as_inputs,
)
from onnx import ModelProto, TensorProto, helper
from sample_models import (
    CLASSES,
    INPUT,
    SIZE,
    activations,
    make_net,
    onnx_model,
    texture_images,
)

from trimtab.variants import (
    Executed,
    View,
    Wishes,
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
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.engines import create_engine
from trimtab_runtime.errors import ModelError
from trimtab_runtime.images.preprocess import Preprocessor

IMAGES, LABELS = texture_images(24, seed=3)
LOGITS = activations(make_net(), IMAGES)[3]


def opened(tmp_path: Path, model: ModelProto, **wishes: Any) -> View:
    source = save(tmp_path / "source.onnx", model)
    return open_view(source, tmp_path / "view", Wishes(**wishes))


def variant_of(
    view: View, input: Mapping[str, Any] = INPUT, output: Mapping[str, Any] | None = None
) -> Variant:
    size = input.get("size")
    pixels = (size, size) if isinstance(size, int) else size
    facts = inspect_model(view.path, pixels)
    return make_variant(view.path, facts, input, output or {}, "m")


def answers(path: Path, variant: Variant, images: Any = IMAGES) -> Any:
    engine = create_engine(str(path), variant, RuntimeOptions("onnxruntime"))
    return np.stack([engine.run(Preprocessor(i).tensor(variant.input)) for i in images])


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


# ---- weights in other files --------------------------------------------------------------------


def external(path: Path, model: ModelProto, attributes: bool = False, threshold: int = 0) -> Path:
    onnx.save(
        model,
        str(path),
        save_as_external_data=True,
        location=f"{path.name}.data",
        size_threshold=threshold,
        convert_attribute=attributes,
    )
    return path


@pytest.mark.parametrize("habit", ["as it is", "constants as nodes", "functions"])
def test_weights_beside_are_merged(tmp_path: Path, habit: str) -> None:
    path = external(tmp_path / "a.onnx", small_model(habit), attributes=True)
    view = open_view(path, tmp_path / "view")
    (tmp_path / "a.onnx.data").unlink()
    assert view.beside == ()
    assert np.allclose(answers(view.path, variant_of(view)), LOGITS, atol=1e-4)


def test_weights_of_a_subgraph_beside_are_merged(tmp_path: Path) -> None:
    """Both branches of an If, with weights of their own."""
    model = onnx_model()
    gemm = model.graph.node.pop()
    weights = {w.name: w for w in model.graph.initializer if w.name.startswith("head")}
    kept = [w for w in model.graph.initializer if w.name not in weights]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    branches = {}
    for branch in ("then_branch", "else_branch"):
        node = helper.make_node("Gemm", gemm.input, [branch], transB=1, name=branch)
        value = helper.make_tensor_value_info(branch, TensorProto.FLOAT, [1, CLASSES])
        branches[branch] = helper.make_graph([node], branch, [], [value], weights.values())
    tensor(model, "zero", np.float32(0))
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["image"], ["bright"], keepdims=0, name="mean"),
            helper.make_node("Greater", ["bright", "zero"], ["lit"], name="lit"),
            helper.make_node("If", ["lit"], ["logits"], name="if", **branches),
        ]
    )
    path = external(tmp_path / "a.onnx", model)
    view = open_view(path, tmp_path / "view")
    (tmp_path / "a.onnx.data").unlink()
    assert np.allclose(answers(view.path, variant_of(view)), LOGITS, atol=1e-4)


def test_the_identity_is_that_of_all_files(tmp_path: Path) -> None:
    found = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        found.append(
            open_view(external(folder / "a.onnx", onnx_model(seed=seed)), folder / "view")
        )
    graphs = [(tmp_path / name / "a.onnx").read_bytes() for name in ("0", "1")]
    assert graphs[0] == graphs[1]
    assert found[0].source_sha256 != found[1].source_sha256


def test_large_weights_stay_in_a_file_beside(tmp_path: Path) -> None:
    path = external(tmp_path / "a.onnx", in_functions(onnx_model()))
    view = open_view(path, tmp_path / "view", limit_bytes=100)
    assert [file.name for file in view.beside] == ["a.onnx.data"]
    assert view.path.stat().st_size < 4000 < view.beside[0].stat().st_size
    assert np.allclose(answers(view.path, variant_of(view)), LOGITS, atol=1e-4)
    assert dict(inspect_model(view.path).operators)["Conv"] == 2


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.unlink(), "keeps weights in a.onnx.data, which is missing"),
        (lambda file: file.write_bytes(b"short"), "a.onnx.data has 5 bytes, but"),
    ],
)
def test_a_file_beside_that_is_spoilt(tmp_path: Path, spoil: Any, message: str) -> None:
    path = external(tmp_path / "a.onnx", onnx_model())
    spoil(tmp_path / "a.onnx.data")
    with pytest.raises(ModelError, match=message):
        open_view(path, tmp_path / "view")


def test_weights_outside_of_the_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = external(tmp_path / "inner" / "a.onnx", onnx_model())
    (tmp_path / "inner" / "a.onnx.data").rename(tmp_path / "stolen")
    model = onnx.load(path, load_external_data=False)
    for weight in model.graph.initializer:
        for entry in weight.external_data:
            if entry.key == "location":
                entry.value = "../stolen"
    save(path, model)
    with pytest.raises(ModelError, match="outside of its own folder"):
        open_view(path, tmp_path / "view")


# ---- shapes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [["batch", "channels", "height", "width"], [None] * 4])
def test_open_channels_are_those_of_the_first_convolution(tmp_path: Path, axes: Any) -> None:
    view = opened(tmp_path, open_axes(onnx_model(), axes))
    facts = inspect_model(view.path)
    assert (facts.layout, facts.channels, facts.input_size) == ("nchw", 3, None)
    assert "axis 2" in facts.open_axes
    assert "axis 3" in facts.open_axes
    assert any("3 in nchw go through" in note for note in view.notes)
    with pytest.raises(ModelError, match=r"axis 2.* and axis 3.*input: \{size: 224\}"):
        variant_of(view)


def test_open_gray_and_open_nhwc(tmp_path: Path) -> None:
    gray = opened(tmp_path, open_axes(onnx_model(channels=1), list("nchw")))
    assert inspect_model(gray.path).channels == 1
    nhwc = opened(tmp_path, open_axes(onnx_model(layout="nhwc"), list("nhwc")))
    facts = inspect_model(nhwc.path)
    assert (facts.layout, facts.channels) == ("nhwc", 3)


def position_model() -> ModelProto:
    """Patches of 8x8 as tokens with an embedding for each of 16 places: 32x32 alone goes
    through."""
    rng = np.random.default_rng(0)
    weights = {
        "kernel": rng.normal(0, 0.1, (8, 3, 8, 8)),
        "positions": rng.normal(0, 1, (1, 8, 16)),
        "head": rng.normal(0, 1, (8, CLASSES)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["patches"], strides=[8, 8], name="p"),
        helper.make_node("Reshape", ["patches", "flat"], ["tokens"], name="r"),
        helper.make_node("Add", ["tokens", "positions"], ["placed"], name="a"),
        helper.make_node("ReduceMean", ["placed"], ["mean"], axes=[2], keepdims=0, name="m"),
        helper.make_node("MatMul", ["mean", "head"], ["logits"], name="h"),
    ]
    graph = helper.make_graph(
        nodes,
        "vit",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", "c", "h", "w"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for name, values in weights.items():
        tensor(model, name, values.astype(np.float32))
    tensor(model, "flat", np.array([0, 8, -1]))
    return model


def test_position_embeddings_close_the_size(tmp_path: Path) -> None:
    view = opened(tmp_path, position_model())
    assert inspect_model(view.path).input_size == (32, 32)
    assert any("32x32 goes through" in note for note in view.notes)


def test_metadata_close_the_size(tmp_path: Path) -> None:
    model = open_axes(onnx_model(), list("nchw"))
    helper.set_model_props(model, {"imgsz": "[40, 48]"})
    assert inspect_model(opened(tmp_path, model).path).input_size == (40, 48)


def test_what_is_said_settles_channels_and_layout(tmp_path: Path) -> None:
    """A network of pooling takes any image; only what is said tells which axis is which."""
    nodes = [helper.make_node("GlobalAveragePool", ["image"], ["scores"], name="p")]
    graph = helper.make_graph(
        nodes,
        "pool",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [None] * 4)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    view = opened(tmp_path, model, size=(8, 8), layout="nchw", channels=3)
    facts = inspect_model(view.path, (8, 8))
    assert (facts.layout, facts.channels, facts.output_width) == ("nchw", 3, 3)


def test_a_size_that_is_said_folds_what_follows_from_it(tmp_path: Path) -> None:
    """Half the height, doubled again, as exporters write a shuffle of channels."""
    model = open_axes(onnx_model(), ["n", "c", "h", "w"])
    tensor(model, "two", np.array([2]))
    tensor(model, "height", np.array([2]))
    parts = [("before", 0, 2), ("behind", 3, 4)]
    nodes = [helper.make_node("Shape", ["relu1"], ["shape"], name="shape")]
    for name, start, end in parts:
        tensor(model, f"{name}_start", np.array([start]))
        tensor(model, f"{name}_end", np.array([end]))
        ends = [f"{name}_start", f"{name}_end"]
        nodes.append(helper.make_node("Slice", ["shape", *ends], [name], name=name))
    nodes += [
        helper.make_node("Gather", ["shape", "height"], ["h"], axis=0, name="h"),
        helper.make_node("Mul", ["h", "two"], ["doubled"], name="doubled"),
        helper.make_node("Div", ["doubled", "two"], ["halved"], name="halved"),
        helper.make_node("Concat", ["before", "halved", "behind"], ["all"], axis=0, name="all"),
        helper.make_node("Reshape", ["relu1", "all"], ["same"], name="same"),
    ]
    for node in reversed(nodes):
        model.graph.node.insert(2, node)
    next(node for node in model.graph.node if node.output[0] == "conv2").input[0] = "same"
    view = opened(tmp_path, model, size=(SIZE, SIZE))
    facts = inspect_model(view.path)
    assert (facts.input_size, facts.dynamic_batch) == ((SIZE, SIZE), False)
    assert "Shape" not in dict(facts.operators)
    plain = save(tmp_path / "plain.onnx", onnx_model())
    assert [w.multiply_accumulates for w in operator_work(view.path, "onnx") if w.weights] == [
        w.multiply_accumulates for w in operator_work(plain, "onnx") if w.weights
    ]
    assert usable_taps(view.path)[0]
    assert np.allclose(answers(view.path, variant_of(view)), LOGITS, atol=1e-4)


def test_a_batch_of_eight_becomes_one(tmp_path: Path) -> None:
    model = onnx_model(batch=8)
    view = opened(tmp_path, model)
    assert view.notes == ("it takes batches of 8; one by one, images get the same answers",)
    assert np.allclose(answers(view.path, variant_of(view)), LOGITS, atol=1e-4)


def test_a_batch_that_its_images_share_stays(tmp_path: Path) -> None:
    """Answers that depend on the other images of the batch are no single image's."""
    model = onnx_model(batch=8)
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["logits"], ["all"], axes=[0], name="all"),
            helper.make_node("Sub", ["logits", "all"], ["scores"], name="centred"),
        ]
    )
    model.graph.output[0].name = "scores"
    view = opened(tmp_path, model)
    with pytest.raises(ModelError, match="takes batches of 8 images"):
        inspect_model(view.path)


# ---- outputs -----------------------------------------------------------------------------------


def three_outputs() -> ModelProto:
    """Tokens first, then a label, then the logits, then probabilities."""
    model = onnx_model()
    tensor(model, "tokens_shape", np.array([1, 2, 8]))
    model.graph.node.extend(
        [
            helper.make_node("Reshape", ["features", "tokens_shape"], ["tokens"], name="t"),
            helper.make_node("ArgMax", ["logits"], ["label"], axis=1, name="l"),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1, name="s"),
        ]
    )
    del model.graph.output[:]
    add_output(model, "tokens", TensorProto.FLOAT, [1, 2, 8])
    add_output(model, "features", TensorProto.FLOAT, [1, 16])
    add_output(model, "label", TensorProto.INT64, [1, 1])
    add_output(model, "logits", TensorProto.FLOAT, [1, CLASSES])
    add_output(model, "probabilities", TensorProto.FLOAT, [1, CLASSES])
    return model


def test_of_several_outputs_the_one_like_scores_is_taken_and_told(tmp_path: Path) -> None:
    view = opened(tmp_path, three_outputs())
    assert view.notes[0].startswith(
        "of its outputs 'logits' (1 x 4 float32) is taken, not 'tokens'"
    )
    assert np.allclose(answers(view.path, variant_of(view)), LOGITS, atol=1e-4)
    assert "ArgMax" not in dict(inspect_model(view.path).operators)


@pytest.mark.parametrize("wish", [{"output": "probabilities"}, {"output_index": 4}])
def test_the_output_that_is_named_is_taken(tmp_path: Path, wish: Any) -> None:
    view = opened(tmp_path, three_outputs(), **wish)
    variant = variant_of(view)
    assert variant.output.kind == "probabilities"
    assert np.allclose(answers(view.path, variant).sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("wish", [{"output": "scores"}, {"output_index": 5}])
def test_an_output_that_is_not_there_is_named_with_those_that_are(
    tmp_path: Path, wish: Any
) -> None:
    with pytest.raises(ModelError, match="is none of its outputs 0: 'tokens', 1: 'features'"):
        opened(tmp_path, three_outputs(), **wish)


def test_the_labels_decide_between_outputs(tmp_path: Path) -> None:
    view = opened(tmp_path, three_outputs(), classes=16)
    assert inspect_model(view.path).output_width == 16


def test_a_zipmap_gives_its_scores(tmp_path: Path) -> None:
    view = opened(tmp_path, label_and_zipmap(onnx_model(), ["a", "b", "c", "d"]))
    variant = variant_of(view)
    assert variant.output.kind == "probabilities"
    found = answers(view.path, variant)
    assert np.array_equal(found.argmax(1), LOGITS.argmax(1))


@pytest.mark.parametrize("shape", [[1, CLASSES, 1, 1], [1, 1, 1, CLASSES], [CLASSES]])
def test_axes_of_one_are_none(tmp_path: Path, shape: list[int]) -> None:
    model = onnx_model()
    tensor(model, "shape", np.array(shape))
    node = helper.make_node("Reshape", ["logits", "shape"], ["scores"], name="shape")
    view = opened(tmp_path, ends_with(model, node, shape=shape))
    variant = variant_of(view)
    assert variant.output.kind == "logits"
    assert np.allclose(answers(view.path, variant), LOGITS, atol=1e-4)


def test_log_softmax_counts_as_logits(tmp_path: Path) -> None:
    node = helper.make_node("LogSoftmax", ["logits"], ["scores"], axis=1, name="ls")
    view = opened(tmp_path, ends_with(onnx_model(), node, shape=[1, CLASSES]))
    assert inspect_model(view.path).output_kind == "logits"


@pytest.mark.parametrize("sigmoid", [False, True])
def test_one_score_tells_two_classes_apart(tmp_path: Path, sigmoid: bool) -> None:
    view = opened(tmp_path, one_score(onnx_model(), positive=2, sigmoid=sigmoid))
    others = np.delete(LOGITS, 2, axis=1).max(1)
    probability = 1 / (1 + np.exp(others - LOGITS[:, 2]))
    for threshold in (0.5, 0.8):
        output = {"kind": "binary", "threshold": threshold}
        variant = variant_of(view, INPUT, output)
        assert variant.output.kind == ("probabilities" if sigmoid else "logits")
        found = answers(view.path, variant)
        assert found.shape == (len(IMAGES), 2)
        assert np.array_equal(found.argmax(1), probability > threshold)
        if not sigmoid:
            found = np.exp(found) / np.exp(found).sum(1, keepdims=True)
        odds = probability / (1 - probability) * (1 - threshold) / threshold
        assert np.allclose(found[:, 1], odds / (1 + odds), atol=1e-4)


def test_kind_binary_is_for_one_score(tmp_path: Path) -> None:
    view = opened(tmp_path, onnx_model())
    for said in ({"kind": "binary"}, {"threshold": 0.4}):
        with pytest.raises(ModelError, match="is for a single score, but the model gives 4"):
            variant_of(view, INPUT, said)


# ---- inputs ------------------------------------------------------------------------------------


def test_half_precision_is_fed_as_it_asks(tmp_path: Path) -> None:
    view = opened(tmp_path, half(onnx_model()))
    assert view.notes == ()
    for dtype in (None, "float16"):
        variant = variant_of(view, {**INPUT, "dtype": dtype})
        assert variant.input.dtype == "float16"
    found = answers(view.path, variant)
    assert found.dtype == np.float32
    assert np.allclose(found, LOGITS, atol=0.05)
    assert quantisable(inspect_model(view.path))


@pytest.mark.parametrize(
    "kind", [TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT16]
)
def test_whole_numbers_are_fed_pixels(tmp_path: Path, kind: int) -> None:
    view = opened(tmp_path, of_type(onnx_model(), kind))
    variant = variant_of(view, {})
    assert (variant.input.dtype, variant.input.mean, variant.input.std) == ("uint8", (0,), (1,))
    pixels = IMAGES.astype(np.float32) * 127.5 + 127.5  # undoes what `activations` takes off
    assert np.allclose(
        answers(view.path, variant), activations(make_net(), pixels)[3], rtol=1e-3, atol=0.1
    )
    assert quantisable(inspect_model(view.path))


def test_bfloat16_is_refused_for_the_engines_reason_alone(tmp_path: Path) -> None:
    model = onnx_model()
    for weight in model.graph.initializer:
        weight.CopyFrom(
            helper.make_tensor(
                weight.name, TensorProto.BFLOAT16, weight.dims, [0.0] * int(np.prod(weight.dims))
            )
        )
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.elem_type = TensorProto.BFLOAT16
    with pytest.raises(ModelError) as refused:
        opened(tmp_path, model)
    text = str(refused.value)
    assert "Type 'tensor(bfloat16)' of input parameter (image) of operator (Conv)" in text
    assert "may be" not in text
    assert "cannot load it: " in text


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
    with pytest.raises(ModelError, match=r"it is of opset 99, onnxruntime here knows opset \d+"):
        opened(tmp_path, model)


def test_a_custom_operator_is_refused_for_the_engines_reason(tmp_path: Path) -> None:
    model = onnx_model()
    node = helper.make_node("MySwish", ["logits"], ["scores"], domain="acme.ops", name="s")
    model.opset_import.append(helper.make_opsetid("acme.ops", 1))
    with pytest.raises(ModelError) as refused:
        opened(tmp_path, ends_with(model, node, shape=[1, CLASSES]))
    assert str(refused.value).endswith("acme.ops:MySwish(-1) is not a registered function/op")


# ---- several inputs ----------------------------------------------------------------------------


def test_an_input_that_nothing_reads_is_left_out(tmp_path: Path) -> None:
    model = onnx_model()
    model.graph.input.append(helper.make_tensor_value_info("training", TensorProto.BOOL, [1]))
    view = opened(tmp_path, model)
    assert view.notes == ("its inputs 'training' are read by nothing and left out",)
    assert np.allclose(answers(view.path, variant_of(view)), LOGITS, atol=1e-4)


def test_a_second_input_that_is_read_is_refused(tmp_path: Path) -> None:
    model = onnx_model()
    model.graph.input.append(helper.make_tensor_value_info("bias", TensorProto.FLOAT, [1, 4]))
    node = helper.make_node("Add", ["logits", "bias"], ["scores"], name="a")
    with pytest.raises(ModelError, match=r"reads 'image' \[1 x 3 x 32 x 32\], 'bias' \[1 x 4\]"):
        opened(tmp_path, ends_with(model, node, shape=[1, CLASSES]))
