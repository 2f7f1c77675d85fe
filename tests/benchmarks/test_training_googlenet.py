"""What the training of the benchmarks' GoogLeNet relies on: a faster LRN, and exact folding."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from benchmarks._fast_lrn import ALPHA, SIZE, FastLRN
from benchmarks.googlenet import GoogLeNet
from benchmarks.train_googlenet import CLASSES, WIDTH, fold, learner


def test_the_fast_lrn_is_torch_s_own_with_its_slope() -> None:
    torch.manual_seed(0)
    maps = 40 * torch.randn(2, 11, 3, 5)
    for scale in (1.0, 7.0):
        ours, theirs = maps.clone().requires_grad_(), maps.clone().requires_grad_()
        found = FastLRN(scale)(ours)
        wanted = functional.local_response_norm(scale * theirs, SIZE, ALPHA, 0.75, 1.0)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
        slope = torch.randn_like(maps)
        found.backward(slope)
        wanted.backward(slope)
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)


def test_folding_changes_no_answer() -> None:
    trained = learner()
    generator = torch.Generator().manual_seed(1)
    for layer in trained.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.running_mean, layer.running_var, layer.weight, layer.bias):
                tensor.data = 0.5 + torch.rand(tensor.shape, generator=generator)
    images = torch.randn(3, 3, 32, 32, generator=generator)
    plain = GoogLeNet(CLASSES, WIDTH, lrn=True)
    plain.load_state_dict(fold(trained))
    with torch.no_grad():
        wanted, found = trained.eval()(images), plain.eval()(images)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
