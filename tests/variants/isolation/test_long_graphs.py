"""Graphs that are very long, or reached by very many ways, are walked as any other."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from long_models import write_activations, write_chain, write_doubled
from onnx import helper

from trimtab.variants import find_taps, inspect_model, operator_work
from trimtab.variants.files.doubts import find_doubts
from trimtab.variants.files.graphs import constant_tensors, every_graph, read_names
from trimtab.variants.slimming import propose, read_network


def test_a_deep_network_is_described(tmp_path: Path) -> None:
    path = write_chain(tmp_path / "deep.onnx", 200)
    work = operator_work(path, "onnx")
    assert [each.kind for each in work].count("pointwise") == 200
    assert len(find_taps(path)[0]) > 100
    assert dict(inspect_model(path).operators)["BatchNormalization"] == 200


def test_five_thousand_operators_in_a_row(tmp_path: Path) -> None:
    path = write_activations(tmp_path / "long.onnx", 5000)
    assert len(operator_work(path, "onnx")) == 5003
    assert find_taps(path)[1] is not None
    assert propose(read_network(path)) == []


@pytest.mark.parametrize("constant", [True, False])
def test_what_is_reached_by_2_to_the_200_ways(tmp_path: Path, constant: bool) -> None:
    path = write_doubled(tmp_path / "wide.onnx", 200, constant)
    kinds = [each.kind for each in operator_work(path, "onnx")]
    assert kinds.count("conv") + kinds.count("pointwise") == 1
    weights = [each.weights for each in operator_work(path, "onnx") if "Gemm" not in each.kind]
    assert weights[0 if not constant else -4] > 0
    find_taps(path)
    read_network(path)
    assert list(find_doubts(onnx.load(path))) == []


def test_names_are_found_inside_and_constants_pass_empty_inputs() -> None:
    inner = helper.make_graph(
        [helper.make_node("Add", ["outside", "own"], ["own2"])],
        "inner",
        [],
        [helper.make_tensor_value_info(name, 1, None) for name in ("own2", "passed")],
        [helper.make_tensor("own", 1, [1], [1.0])],
    )
    node = helper.make_node("If", ["cond"], ["y"], then_branch=inner, else_branch=inner)
    assert read_names(node) == {"cond", "outside", "passed"}
    graph = helper.make_graph([node], "outer", [], [])
    assert [found.name for found in every_graph(graph)] == ["outer", "inner", "inner"]
    resize = helper.make_node("Resize", ["own", "", "own"], ["made"])
    constants = helper.make_graph([resize], "g", [], [], list(inner.initializer))
    assert constant_tensors(constants) == {"own", "made"}
