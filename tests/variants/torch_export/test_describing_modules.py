"""PyTorch modules tell of themselves: timm's configuration, transformers' names, torchvision's
weights."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from trimtab.variants import describe_model, export_module
from trimtab.variants.torch_export.describing import write_description

NETS = """
from torch import nn

class Config:
    def to_dict(self):
        return {"input_size": (3, 32, 32), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5),
                "interpolation": "bilinear", "crop_pct": 0.9}

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, 2), nn.Linear(4, 4)
        self.pretrained_cfg = Config()

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))

class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Small()

    def forward(self, x):
        return self.inner(x)
"""


@pytest.mark.parametrize("name", ["Small", "Wrapped"])
def test_timms_configuration_goes_with_the_export(tmp_path: Path, name: str) -> None:
    (tmp_path / "described_nets.py").write_text(NETS)
    out = tmp_path / "out" / "model.onnx"
    out.parent.mkdir()
    export_module(f"described_nets:{name}", {}, None, 32, out, folder=tmp_path)
    (found,) = describe_model(out).sources
    assert found.source == "the module's pretrained_cfg"
    assert found.input == {
        "mean": (127.5,),
        "std": (127.5,),
        "size": (32, 32),
        "fit": "crop",
        "crop": 0.9,
        "resize": "bilinear",
    }


def test_names_of_transformers(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Identity())
    module[0].config = SimpleNamespace(id2label={0: "cat", 1: "dog"})
    write_description(module, "nets:Net", {}, tmp_path / "model.onnx")
    (found,) = describe_model(tmp_path / "model.onnx").sources
    assert found.labels == ("cat", "dog")


def test_a_module_that_says_nothing_leaves_no_file(tmp_path: Path) -> None:
    write_description(torch.nn.Identity(), "nets:Net", {"weights": "x"}, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


TORCHVISION = '''
"""What is asked of torchvision, with its names: enums of weights, transforms and metadata."""
import enum

class Filter(enum.Enum):
    BILINEAR = "bilinear"

class Preset:
    crop_size, resize_size = [224], [256]
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    interpolation, antialias = Filter.BILINEAR, True

class Weights(enum.Enum):
    IMAGENET1K_V1 = 1

    @property
    def meta(self):
        return {"categories": ["tench", "goldfish"]}

    def transforms(self):
        return Preset()

def get_model_builder(name):
    return {"resnet18": None}[name]

def get_model_weights(builder):
    return Weights
'''


def test_weights_of_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision is not installed here: a package of its name gives what it gives. (Compared with
    torchvision 0.29 itself: docs/models.md.)"""
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "models.py").write_text(TORCHVISION)
    monkeypatch.syspath_prepend(str(tmp_path))
    out, entry = tmp_path / "model.onnx", "torchvision.models:resnet18"
    for name in ("IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1"):
        write_description(torch.nn.Identity(), entry, {"weights": name}, out)
        (found,) = describe_model(out).sources
        assert found.source == "torchvision's IMAGENET1K_V1"
        assert found.labels == ("tench", "goldfish")
        assert found.input["mean"] == (123.675, 116.28, 103.53)
        assert (found.input["fit"], found.input["resize_size"]) == ("crop", (256, 256))
        assert found.input["size"] == (224, 224)
    write_description(torch.nn.Identity(), entry, {"weights": "NOPE"}, out)
    assert "torchvision's NOPE: cannot be read" in describe_model(out).problems[0]
    for name in ("torchvision", "torchvision.models"):
        sys.modules.pop(name, None)
