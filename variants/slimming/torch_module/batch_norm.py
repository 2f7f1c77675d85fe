"""Batch normalisation for the time of learning: put behind convolutions, and folded away again.

A network whose blocks are new and deep learns many times faster so. Importing this imports torch:
import it inside functions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class NormalisedConv(nn.Conv2d):
    """A convolution, and batch normalisation behind it (Ioffe and Szegedy, ICML 2015). It has the
    weights of `conv`, which must have a bias, and until it learns its output too."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(**_settings(conv))
        self.weight, self.bias = conv.weight, conv.bias
        self.norm = nn.BatchNorm2d(conv.out_channels)
        self.begun = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = super().forward(x)
        if self.begun:
            normed: torch.Tensor = self.norm(made)
            return normed
        self._begin(made)
        return made

    @torch.no_grad()
    def _begin(self, made: torch.Tensor) -> None:
        """Take statistics (n, C, H, W), and undo by scale and shift what these would change."""
        norm = self.norm
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(made.mean((0, 2, 3)))
        norm.running_var.copy_(made.var((0, 2, 3), correction=0))
        norm.weight.copy_(torch.sqrt(norm.running_var + norm.eps))
        norm.bias.copy_(norm.running_mean)
        self.begun = True

    @torch.no_grad()
    def folded(self) -> nn.Conv2d:
        """The convolution that computes the same with the statistics gathered so far."""
        norm = self.norm
        assert norm.running_mean is not None and norm.running_var is not None
        assert self.bias is not None
        plain = nn.Conv2d(**_settings(self))
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        plain.weight.copy_(self.weight * factor[:, None, None, None])
        assert plain.bias is not None
        plain.bias.copy_((self.bias - norm.running_mean) * factor + norm.bias)
        return plain


def _settings(conv: nn.Conv2d) -> dict[str, Any]:
    """What a convolution of the same shape is made with."""
    names = (
        "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups",
    )  # fmt: skip
    return {name: getattr(conv, name) for name in names}


def normalise(layers: nn.Module) -> None:
    """Put normalisation behind every convolution that has a bias to fold it into. What passes
    first decides what it begins with, and goes through unchanged."""
    for parent in list(layers.modules()):
        for name, layer in parent.named_children():
            if type(layer) is nn.Conv2d and layer.bias is not None:
                parent.add_module(name, NormalisedConv(layer))


def fold(layers: nn.Module) -> None:
    """Undo :func:`normalise`; what a network computes in evaluation mode stays."""
    for parent in list(layers.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, NormalisedConv):
                parent.add_module(name, layer.folded())
