"""Weights that lie in other files than the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exported_models import (
    in_functions,
    save,
    small_model,
    tensor,
)
from onnx import ModelProto, TensorProto, helper
from opened_models import LOGITS, answers, variant_of
from sample_models import (
    CLASSES,
    onnx_model,
)

from trimtab.variants import (
    inspect_model,
    open_view,
)
from trimtab_runtime.errors import ModelError


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


@pytest.mark.parametrize("threshold", [0, 256])
@pytest.mark.parametrize("habit", ["as it is", "constants as nodes", "functions"])
def test_weights_beside_are_merged(tmp_path: Path, habit: str, threshold: int) -> None:
    """All of them, or only the large ones."""
    path = external(tmp_path / "a.onnx", small_model(habit), True, threshold)
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
