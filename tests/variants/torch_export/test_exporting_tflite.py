"""PyTorch modules become TFLite files, where the extra `trimtab[tflite]` is installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from trimtab.variants import export_module, inspect_model
from trimtab.variants.files.tflite import load_tflite
from trimtab_runtime.errors import ModelError

NET = """
import torch
from torch import nn


def small(classes=4):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, classes),
    )


class Turns(nn.Module):
    def forward(self, x):
        scores = x.mean((2, 3))
        return scores if scores.sum() > 0 else -scores
"""
installed = pytest.mark.skipif(
    importlib.util.find_spec("litert_torch") is None, reason="litert-torch is not installed"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tflite_nets.py").write_text(NET)
    monkeypatch.delitem(sys.modules, "tflite_nets", raising=False)
    return tmp_path


@installed
def test_the_file_answers_as_torch(folder: Path) -> None:
    paths = [
        export_module("tflite_nets:small", {}, None, (20, 32), folder / name, folder=folder)
        for name in ("a.tflite", "b.tflite")
    ]
    facts = inspect_model(paths[0])
    assert (facts.format, facts.input_size, facts.layout) == ("tflite", (20, 32), "nhwc")
    sys.path.insert(0, str(folder))
    try:
        import tflite_nets  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(folder))
    image = torch.randn(1, 3, 20, 32)
    found = load_tflite(paths[0]).run(image.permute(0, 2, 3, 1).contiguous().numpy())
    np.testing.assert_allclose(found, tflite_nets.small().eval()(image).detach(), atol=1e-5)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@installed
def test_what_cannot_be_converted(folder: Path) -> None:
    out = folder / "a.tflite"
    with pytest.raises(ModelError, match=r"litert-torch cannot convert it to TFLite"):
        export_module("tflite_nets:Turns", {}, None, 16, out, folder=folder)
    assert not out.exists()


@pytest.mark.skipif(
    importlib.util.find_spec("litert_torch") is not None, reason="litert-torch is installed"
)
def test_without_the_extra_it_says_how_to_get_it(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"pip install 'trimtab\[tflite\]'"):
        export_module("tflite_nets:small", {}, None, 16, folder / "a.tflite", folder=folder)
