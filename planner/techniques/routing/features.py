"""Inputs of routers: image features, small tensors, vectors at first taps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from trimtab.planner.cache.segments import TapEquipment, bare_place, segment_variant
from trimtab.planner.candidates.evaluator import CandidateEvaluator
from trimtab.planner.jobs.steps import ENDS_JOB, one_step
from trimtab.planner.selection.data import SelectionData
from trimtab.search.routing.sources import (
    FeatureSource,
    StageSource,
    TensorSource,
    VectorSource,
)
from trimtab.variants import taps_in_subprocess
from trimtab.variants.routers import TINY_INPUT
from trimtab_runtime.errors import TrimtabError
from trimtab_runtime.images.features import IMAGE_FEATURES
from trimtab_runtime.images.preprocess import Preprocessor, decode_image

T = TypeVar("T")

#: Taps of the first stage that are looked for; the earliest is used.
TAPS = 8


@dataclass
class RouterFeatures:
    """Traces what routers look at. `firsts` are the taps of first stages, by option; `reasons` say
    what could not be had."""

    evaluator: CandidateEvaluator
    data: SelectionData
    firsts: dict[int, TapEquipment] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def sources(self, groups: Sequence[tuple[int, ...]]) -> list[FeatureSource]:
        """What routers of these groups of options may look at; what cannot be had is said, and
        left out."""
        firsts = list(dict.fromkeys(group[0] for group in groups))
        found = (
            self.tried(f"{kind} features", partial(features.source, self, kind, firsts))
            for kind, features in FEATURES.items()
        )
        return [source for source in found if source is not None]

    def first_tap(self, option: int) -> NDArray[np.float32] | None:
        """Vectors (inputs, channels) at the first usable tap of an option."""
        found, evaluator = self.data.measured[option], self.evaluator
        name = self.data.options[option].name
        if found.built.variant.format != "onnx":
            self.say(name, "has no tap for a router: TFLite files cannot be split")
            return None
        limit_s, size = evaluator.job.spec.budget.stall_seconds, found.built.variant.input.size
        places, reason = taps_in_subprocess(found.built.path, TAPS, size, limit_s, name)
        if not places:
            self.say(name, f"has no tap for a router: {reason}")
            return None
        first = replace(bare_place(replace(places[0], grid=1)), kinds=())
        cut = segment_variant(evaluator.job.store, found.built, [first], limit_s)
        options = self.data.options[option].stage.options
        vectors = evaluator.traces.trace_vectors(found.built, options, cut)["vector_0"]
        self.firsts[option] = first
        return vectors

    def tried(self, name: str, make: Callable[[], T]) -> T | None:
        """What is made; None, and a note, where it cannot be."""
        try:
            with one_step():
                return make()
        except ENDS_JOB:
            raise
        except TrimtabError as error:
            self.say(f"routers of {name}", str(error))
            return None

    def say(self, name: str, text: str) -> None:
        """Why something could not be had."""
        self.reasons[name] = text
        self.evaluator.job.journal.note("info", name, text)


@dataclass(frozen=True)
class TracedFeatures:
    """How features of one kind are had, for groups of options with these `firsts`, and the
    milliseconds that a router on them is taken to cost until it has been measured."""

    source: Callable[[RouterFeatures, str, Sequence[int]], FeatureSource]
    expected_ms: float


def _image(features: RouterFeatures, kind: str, firsts: Sequence[int]) -> FeatureSource:
    built = features.data.measured[features.data.baseline].built
    seen = features.evaluator.traces.features(built, IMAGE_FEATURES)
    return VectorSource(kind, seen, IMAGE_FEATURES)


def _first_taps(features: RouterFeatures, kind: str, firsts: Sequence[int]) -> FeatureSource:
    names = (features.data.options[option].name for option in firsts)
    seen = {
        option: features.tried(name, partial(features.first_tap, option))
        for option, name in zip(firsts, names, strict=True)
    }
    return StageSource(kind, {option: v for option, v in seen.items() if v is not None})


def _tensor(features: RouterFeatures, kind: str, firsts: Sequence[int]) -> FeatureSource:
    items = features.evaluator.items
    tensors = {
        item.sha256: Preprocessor(decode_image(str(item.path))).tensor(TINY_INPUT)[0]
        for item in {item.sha256: item for item in items}.values()
    }
    seen = np.stack([tensors[item.sha256] for item in items])
    return TensorSource(kind, seen, features.data.rows.fit)


#: By the kinds that devices know (trimtab_runtime.definitions.routers.FEATURE_KINDS).
FEATURES: Mapping[str, TracedFeatures] = {
    "image": TracedFeatures(_image, 1.5),
    "tap": TracedFeatures(_first_taps, 0.03),
    "tensor": TracedFeatures(_tensor, 0.5),
}
