"""Who picks where an input enters, and who says whether it stops there. Plain data.

A plan's stages go from cheap to dear. A cascade lets every input in at the first; a router looks
at the input (a *premodel*: Taylor et al., LCTES 2018; Marco et al., TECS 2020) and lets it in at
the stage that its scores and the price of time favour. A scorer takes the place of the largest
probability as the confidence of a stage (learned deferral: Jitkrittum et al., NeurIPS 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from trimtab_runtime.formats import InputFormat, one_of
from trimtab_runtime.images.features import IMAGE_FEATURES

#: What a router looks at: features of the `image`, the image as a `tensor`, or the pooled vector
#: of the first `tap` of the first stage.
FEATURE_KINDS = ("image", "tensor", "tap")


@dataclass(frozen=True)
class Scorer:
    """`model` is the sha256 of an ONNX file: "probabilities" float32 (1, classes), of what the
    plan would answer from, to "score" float32 (1,) in [0, 1]: how likely that answer is good."""

    model: str


@dataclass(frozen=True)
class Router:
    """An input enters at stage argmax_i(scores_i - price * costs_ms_i); the first of equals.

    `model` is the sha256 of an ONNX file: "features" float32 (1, n) to "scores" float32
    (1, stages); any scaling is inside. For kind 'image' `names` are those of the features, in
    their order (of image_features.IMAGE_FEATURES); for kind 'tensor' the features are the image
    made a tensor as `input` says; for kind 'tap' they are the pooled vector of the first tap of
    stage 0, which goes on from there if it is entered. `costs_ms` are what entering at each stage
    is expected to cost.
    """

    model: str
    kind: str
    costs_ms: tuple[float, ...]
    names: tuple[str, ...] = ()
    input: Optional[InputFormat] = None

    def __post_init__(self) -> None:
        one_of("kind", self.kind, FEATURE_KINDS)
        if len(self.costs_ms) < 2 or min(self.costs_ms) < 0:
            raise ValueError(f"costs_ms must be one a stage, none below 0, got {self.costs_ms}")
        if bool(self.names) != (self.kind == "image"):
            raise ValueError(f"names of features belong to kind image, got {self.names}")
        for name in self.names:
            one_of("names", name, IMAGE_FEATURES)
        if (self.input is not None) != (self.kind == "tensor"):
            raise ValueError("an input format belongs to kind tensor")
        if self.input is not None and self.input.dtype != "float32":
            raise ValueError(f"a router reads float32, its input is {self.input.dtype}")
