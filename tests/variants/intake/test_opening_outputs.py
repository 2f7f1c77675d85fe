"""Which of several outputs is taken, and what it tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported_models import (
    add_output,
    ends_with,
    label_and_zipmap,
    one_score,
    tensor,
)
from onnx import ModelProto, TensorProto, helper
from opened_models import IMAGES, LOGITS, answers, opened, variant_of
from sample_models import (
    CLASSES,
    INPUT,
    onnx_model,
)

from trimtab.variants import (
    inspect_model,
)
from trimtab_runtime.errors import ModelError


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


@pytest.mark.parametrize("kind", ["ArgMax", "TopK", "ArgMax as float"])
def test_scores_in_front_of_a_choice_are_taken(tmp_path: Path, kind: str) -> None:
    """The best class' number is no score, and the best scores in their order name no class."""
    model = onnx_model()
    tensor(model, "three", np.array([3]))
    if kind == "TopK":
        outputs = [("best", TensorProto.FLOAT, 3), ("places", TensorProto.INT64, 3)]
        nodes = [helper.make_node("TopK", ["logits", "three"], ["best", "places"], axis=1)]
    else:
        outputs = [("label", TensorProto.INT64, 1)]
        nodes = [helper.make_node("ArgMax", ["logits"], ["label"], axis=1)]
    if kind == "ArgMax as float":
        outputs = [("real", TensorProto.FLOAT, 1)]
        nodes.append(helper.make_node("Cast", ["label"], ["real"], to=TensorProto.FLOAT))
    model.graph.node.extend(nodes)
    del model.graph.output[:]
    for name, element, width in outputs:
        add_output(model, name, element, [1, width])
    view = opened(tmp_path, model)
    assert "the scores in front are taken" in view.notes[0]
    assert np.allclose(answers(view.path, variant_of(view)), LOGITS, atol=1e-4)


def test_a_bfloat16_output_is_given_as_float32(tmp_path: Path) -> None:
    cast = helper.make_node("Cast", ["logits"], ["scores"], to=TensorProto.BFLOAT16, name="cast")
    model = ends_with(onnx_model(), cast, shape=[1, CLASSES])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.BFLOAT16
    for wish in ({}, {"output": "scores"}):
        view = opened(tmp_path, model, **wish)
        assert view.notes == ("its bfloat16 output 'scores' is given as float32",)
        assert np.allclose(answers(view.path, variant_of(view)), LOGITS, rtol=2e-2, atol=2e-2)


def test_an_output_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    model = onnx_model()
    model.graph.node.append(helper.make_node("SequenceConstruct", ["logits"], ["several"]))
    model.graph.output[0].CopyFrom(
        helper.make_tensor_sequence_value_info("several", TensorProto.FLOAT, [1, CLASSES])
    )
    with pytest.raises(ModelError, match="its output 'several' is no tensor"):
        opened(tmp_path, model)
