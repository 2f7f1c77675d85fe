"""The scores of modules that return more than one tensor, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_SCORES = "logits"  # as transformers and others call them


def scores_key(answer: Any) -> str | None:
    """The name of the scores in what a module returned: 'logits', or that of the only tensor in a
    mapping; None where it is a tensor, or nothing tells."""
    import torch

    if isinstance(getattr(answer, _SCORES, None), torch.Tensor):
        return _SCORES
    if not isinstance(answer, Mapping):
        return None
    tensors = [str(key) for key, value in answer.items() if isinstance(value, torch.Tensor)]
    return _SCORES if _SCORES in tensors else tensors[0] if len(tensors) == 1 else None


def picking(module: torch.nn.Module, key: str) -> torch.nn.Module:
    """A module that returns what `module` returns under a name."""
    import torch

    class Picking(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, image: torch.Tensor) -> Any:
            answer = self.module(image)
            return answer[key] if isinstance(answer, Mapping) else getattr(answer, key)

    return Picking().eval()
