"""Two small networks for 32x32 images of kinds that int8 is said to hurt: one of hard-swish and
squeeze-and-excitation (as MobileNetV3), one of attention, GELU and LayerNorm on the features of a
ResNet (a hybrid ViT)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.cifar import SIDE, resnet
from benchmarks.zoo import ROOT
from trimtab.variants import export_module

WEIGHTS = Path(__file__).parent / "weights"
CLASSES = 10


class _Excitation(nn.Module):
    """Scales channels by what their means say."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = x.mean((2, 3), keepdim=True)
        return x * functional.hardsigmoid(self.up(functional.relu(self.down(means))))


class _Bottleneck(nn.Module):
    """Widened by a pointwise convolution, depthwise, excited, narrowed, with a shortcut."""

    def __init__(self, inside: int, wide: int, width: int, stride: int, excited: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_normalised(nn.Conv2d(inside, wide, 1, bias=False)),
            nn.Hardswish(),
            *_normalised(nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False)),
            nn.Hardswish(),
            _Excitation(wide) if excited else nn.Identity(),
            *_normalised(nn.Conv2d(wide, width, 1, bias=False)),
        )
        self._shortcut = stride == 1 and inside == width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.body(x)
        return x + found if self._shortcut else found


def _normalised(layer: nn.Conv2d) -> tuple[nn.Module, nn.Module]:
    return layer, nn.BatchNorm2d(layer.out_channels)


class SmallMobileNet(nn.Module):
    """A network in the manner of MobileNetV3 of 7.5 million multiply-accumulates."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_normalised(nn.Conv2d(3, 16, 3, 1, 1, bias=False)),
            nn.Hardswish(),
            _Bottleneck(16, 48, 24, 2, False),
            _Bottleneck(24, 72, 24, 1, True),
            _Bottleneck(24, 96, 40, 2, True),
            _Bottleneck(40, 160, 40, 1, True),
            _Bottleneck(40, 160, 64, 1, True),
            _Bottleneck(64, 192, 64, 1, True),
            *_normalised(nn.Conv2d(64, 256, 1, bias=False)),
            nn.Hardswish(),
        )
        self.linear = nn.Linear(256, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.linear(self.features(x).mean((2, 3)))
        return found


class _Attention(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self._heads = heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count, tokens, width = x.shape
        parts = self.qkv(self.norm1(x)).reshape(count, tokens, 3, self._heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        shares = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1)
        x = x + self.out((shares @ value).transpose(1, 2).reshape(count, tokens, width))
        found: torch.Tensor = x + self.down(functional.gelu(self.up(self.norm2(x))))
        return found


class SmallTransformer(nn.Module):
    """Four transformer blocks of 64 channels on 64 patches of what ResNet-20 has made after two of
    its three stages."""

    def __init__(self, width: int = 64, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        whole = resnet(20)
        self.stem = nn.Sequential(whole.conv1, whole.bn1, nn.ReLU(), whole.layer1, whole.layer2)
        self.patches = nn.Conv2d(32, width, 2, 2)
        self.position = nn.Parameter(0.02 * torch.randn(1, 64, width))
        self.blocks = nn.Sequential(*(_Attention(width, heads) for _ in range(depth)))
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classify(self.stem(x))

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Scores (n, classes) of the stem's features (n, 32, 16, 16)."""
        x = self.patches(features).flatten(2).transpose(1, 2) + self.position
        found: torch.Tensor = self.linear(self.norm(self.blocks(x)).mean(1))
        return found


NETWORKS: dict[str, type[nn.Module]] = {"mobilenet": SmallMobileNet, "vit": SmallTransformer}


def small_network(name: str) -> nn.Module:
    """One of NETWORKS with the weights beside this file, which `benchmarks.train_small` made."""
    network = NETWORKS[name]()
    with np.load(weights_file(name), allow_pickle=False) as stored:
        state = {key: torch.from_numpy(stored[key].astype(np.float32)) for key in stored.files}
    network.load_state_dict(state, strict=False)  # batch norms count batches, which is not kept
    return network.eval()


def weights_file(name: str) -> Path:
    return WEIGHTS / f"small_{name}_cifar10.npz"


def write_network(name: str, target: Path) -> None:
    """It as an ONNX file for images of 32x32."""
    entry = "benchmarks._small_networks:small_network"
    export_module(entry, {"name": name}, None, SIDE, target, folder=ROOT)
