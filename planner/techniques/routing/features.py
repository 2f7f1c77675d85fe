"""Inputs of routers: image features, small tensors, vectors at first taps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from trimtab.planner.cache.segments import TapEquipment, bare_place, segment_variant
from trimtab.planner.candidates.evaluator import CandidateEvaluator
from trimtab.planner.selection.data import SelectionData
from trimtab.search.routing.training import RouterInputs
from trimtab.variants import usable_taps
from trimtab.variants.routers import TINY_INPUT
from trimtab_runtime.errors import StoreError, TrimtabError
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

    def inputs(self, groups: Sequence[tuple[int, ...]]) -> RouterInputs:
        """What routers may look at; what cannot be had is said, and left out."""
        evaluator, data = self.evaluator, self.data
        built = data.measured[data.baseline].built
        image = self.tried(
            "image features", lambda: evaluator.traces.features(built, IMAGE_FEATURES)
        )
        names = () if image is None else IMAGE_FEATURES
        tensors = {
            item.sha256: Preprocessor(decode_image(str(item.path))).tensor(TINY_INPUT)[0]
            for item in {item.sha256: item for item in evaluator.items}.values()
        }
        tensor = np.stack([tensors[item.sha256] for item in evaluator.items])
        firsts = dict.fromkeys(group[0] for group in groups)
        vectors = {
            o: self.tried(data.options[o].name, partial(self._first_tap, o)) for o in firsts
        }
        taps = {option: found for option, found in vectors.items() if found is not None}
        nothing = np.zeros((0, 0), np.float32)
        return RouterInputs(names, nothing if image is None else image, tensor, taps)

    def _first_tap(self, option: int) -> NDArray[np.float32] | None:
        """Vectors (inputs, channels) at the first usable tap of an option."""
        found, evaluator = self.data.measured[option], self.evaluator
        name = self.data.options[option].name
        if found.built.variant.format != "onnx":
            self.say(name, "has no tap for a router: TFLite files cannot be split")
            return None
        places, reason = usable_taps(found.built.path, TAPS, found.built.variant.input.size)
        if not places:
            self.say(name, f"has no tap for a router: {reason}")
            return None
        first = replace(bare_place(replace(places[0], grid=1)), kinds=())
        cut = segment_variant(evaluator.job.store, found.built, [first])
        options = self.data.options[option].stage.options
        vectors = evaluator.traces.trace_vectors(found.built, options, cut)["vector_0"]
        self.firsts[option] = first
        return vectors

    def tried(self, name: str, make: Callable[[], T]) -> T | None:
        """What is made; None, and a note, where it cannot be."""
        try:
            return make()
        except StoreError:
            raise
        except TrimtabError as error:
            self.say(f"routers of {name}", str(error))
            return None

    def say(self, name: str, text: str) -> None:
        """Why something could not be had."""
        self.reasons[name] = text
        self.evaluator.job.journal.note("info", name, text)
