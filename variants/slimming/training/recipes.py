"""How blocks are learned: the numbers that may be chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


_LOSSES = ("mse", "kl")


@dataclass(frozen=True)
class DistillRecipe:
    """How a slimmed network is taught; part of a variant's lineage.

    `loss` is the mean squared error of the logits ('mse'), or the Kullback-Leibler divergence of
    probabilities softened by `temperature` ('kl', Hinton et al. 2015). Replaced regions learn
    `new_factor` times as fast as the rest (DeepRebirth: 10). With `flip`, `shift` (pixels) and
    `mix` images are mirrored, moved and blended at random (:mod:`._augmenting`), and the original
    is asked anew each time. `normalise` puts batch normalisation behind convolutions, and folds it
    away in the end: for networks that have much to learn. `bfloat16` learns in numbers of so many
    bits, which is faster where the processor multiplies them; errors are told in float32. The rest
    is as in :class:`LearnRecipe`; `max_bytes` is of images.
    """

    epochs: int = 10
    batch: int = 64
    learning_rate: float = 3e-5
    patience: int = 3
    held_out: float = 0.1
    loss: str = "mse"
    temperature: float = 4.0
    new_factor: float = 1.0
    flip: bool = False
    shift: int = 0
    mix: float = 0.0
    normalise: bool = False
    bfloat16: bool = False
    max_bytes: int = 1_000_000_000

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, self.patience, self.max_bytes) < 1:
            raise ValueError("epochs, batch, patience, max_bytes >= 1 must hold")
        if self.shift < 0 or self.mix < 0:
            raise ValueError("shift >= 0, mix >= 0 must hold")
        if not 0 < self.learning_rate < 1 or self.new_factor <= 0 or self.temperature <= 0:
            raise ValueError("0 < learning_rate < 1, new_factor > 0, temperature > 0 must hold")
        if not 0 < self.held_out <= 0.5:
            raise ValueError(f"0 < held_out <= 0.5 must hold, got {self.held_out}")
        if self.loss not in _LOSSES:
            raise ValueError(f"loss must be one of {', '.join(_LOSSES)}, got {self.loss!r}")

    @property
    def asks_anew(self) -> bool:
        """Whether images are changed, so that the original must be asked what they show."""
        return self.flip or self.shift > 0 or self.mix > 0


@dataclass(frozen=True)
class LearnRecipe:
    """How a block is learned; part of a variant's lineage.

    Adam on batches of `batch` images, its rate a half cosine from `learning_rate` to nearly
    nothing over `epochs`, stopped after `patience` epochs without a smaller error on the share
    `held_out` of the inputs. `solve` starts from the least-squares solution for the last layers.
    At most `max_bytes` of feature maps are held, input and target together: a seeded sample of
    the images is used where they are larger.
    """

    epochs: int = 20
    batch: int = 64
    learning_rate: float = 1e-3
    patience: int = 4
    held_out: float = 0.1
    solve: bool = True
    max_bytes: int = 1_000_000_000

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, self.patience, self.max_bytes) < 1:
            raise ValueError("epochs, batch, patience, max_bytes >= 1 must hold")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"0 < learning_rate < 1 must hold, got {self.learning_rate}")
        if not 0 < self.held_out <= 0.5:
            raise ValueError(f"0 < held_out <= 0.5 must hold, got {self.held_out}")


@dataclass(frozen=True)
class Learned:
    """A block with learned weights.

    Errors are of held-out inputs: mean squared error by the target's variance around each
    channel's mean, so 0 is perfect and 1 what a constant achieves (1 - R2). `error_before` is
    that of the weights the block came with; `epochs` are those that were run.
    """

    block: onnx.ModelProto
    error_before: float
    error: float
    epochs: int
