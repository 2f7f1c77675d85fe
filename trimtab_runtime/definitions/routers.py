"""Who picks where an input enters, and who says whether it stops there. Plain data.

A plan's stages go from cheap to dear. A cascade lets every input in at the first; a router looks
at the input (a *premodel*: Taylor et al., LCTES 2018; Marco et al., TECS 2020) and lets it in at
the stage that its scores and the price of time favour. A scorer takes the place of the largest
probability as the confidence of a stage (learned deferral: Jitkrittum et al., NeurIPS 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from trimtab_runtime.formats import InputFormat, one_of
from trimtab_runtime.images.features import IMAGE_FEATURES, image_features, opencv
from trimtab_runtime.images.preprocess import Preprocessor

Array = Any


class FeatureKind:
    """What routers of one kind look at. `packages` must be installed for it. `at_tap`: at what the
    first tap of the first stage says, so that this stage runs up to there before the decision."""

    packages: tuple[str, ...] = ()
    at_tap = False

    def check(self, router: Router) -> None:
        """Raises ValueError where the fields of a router do not fit this kind."""
        if router.names:
            raise ValueError(f"names of features belong to kind image, got {router.names}")
        if router.input is not None:
            raise ValueError("an input format belongs to kind tensor")

    def load(self) -> None:
        """Import what :meth:`read` needs. Raises EngineError where that is missing."""

    def read(self, router: Router, image: Preprocessor) -> Array:
        """The features of an image, with batch axis; not asked where `at_tap`."""
        raise NotImplementedError

    def text(self, names: Sequence[str]) -> str:
        """A few words for people, of a router with features of these names."""
        raise NotImplementedError


class _ImageFeatures(FeatureKind):
    packages = ("opencv",)

    def check(self, router: Router) -> None:
        if not router.names:
            raise ValueError(f"names of features belong to kind image, got {router.names}")
        for name in router.names:
            one_of("names", name, IMAGE_FEATURES)
        if router.input is not None:
            raise ValueError("an input format belongs to kind tensor")

    def load(self) -> None:
        opencv()

    def read(self, router: Router, image: Preprocessor) -> Array:
        return image_features(image.rgb(), router.names)[None]

    def text(self, names: Sequence[str]) -> str:
        return f"image features ({', '.join(names)})"


class _ImageTensor(FeatureKind):
    def check(self, router: Router) -> None:
        if router.names:
            raise ValueError(f"names of features belong to kind image, got {router.names}")
        if router.input is None:
            raise ValueError("an input format belongs to kind tensor")
        if router.input.dtype != "float32":
            raise ValueError(f"a router reads float32, its input is {router.input.dtype}")

    def read(self, router: Router, image: Preprocessor) -> Array:
        assert router.input is not None
        return image.tensor(router.input)

    def text(self, names: Sequence[str]) -> str:
        return "the image, read by a tiny network"


class _FirstTap(FeatureKind):
    at_tap = True

    def text(self, names: Sequence[str]) -> str:
        return "the features at the first tap of stage 1"


#: What a router may look at: features of the `image`, the image as a `tensor`, or the pooled
#: vector of the first `tap` of the first stage.
FEATURE_KINDS: dict[str, FeatureKind] = {
    "image": _ImageFeatures(),
    "tensor": _ImageTensor(),
    "tap": _FirstTap(),
}


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
        one_of("kind", self.kind, tuple(FEATURE_KINDS))
        if len(self.costs_ms) < 2 or min(self.costs_ms) < 0:
            raise ValueError(f"costs_ms must be one a stage, none below 0, got {self.costs_ms}")
        self.looks_at.check(self)

    @property
    def looks_at(self) -> FeatureKind:
        """What it looks at."""
        return FEATURE_KINDS[self.kind]
