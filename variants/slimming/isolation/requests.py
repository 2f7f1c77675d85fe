"""What is asked and answered: which proposals a network has, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trimtab.variants.files import watchdog
from trimtab.variants.isolation import Limits, memory_for
from trimtab.variants.isolation.limits import STEP_S
from trimtab.variants.slimming.network.network import Region
from trimtab.variants.slimming.slim import SlimmedPart
from trimtab.variants.slimming.training.cache import TrainingImages
from trimtab_runtime.definitions.plan import InputFormat
from trimtab_runtime.images.preprocess import Preprocessor, decode_image


@dataclass(frozen=True)
class SlimmingSource:
    """A float ONNX file (`path`; errors call it `name`) of an input `size` (height, width), and
    the `rules` that propose. A step over it has `limit_s` seconds."""

    path: str
    name: str
    size: tuple[int, int]
    rules: tuple[str, ...]
    limit_s: float = STEP_S

    @property
    def limits(self) -> Limits:
        return Limits(self.limit_s, memory_for(Path(self.path)))


@dataclass(frozen=True)
class Proposed:
    """A :class:`trimtab.variants.slimming.Proposal` by its key. `nodes` are the numbers of those
    that it replaces; `before` and `after` name the files of its region and its block, equal for
    what computes the same with other weights."""

    key: str
    rule: str
    note: str
    region: Region
    nodes: tuple[int, ...]
    before: str
    after: str


@dataclass(frozen=True)
class Proposals:
    """What the rules propose for a network, in network order; `whole` names its own file."""

    whole: str
    found: tuple[Proposed, ...]


@dataclass(frozen=True)
class Lesson:
    """What is learned from: images, preprocessed as a format says, known by a `key`."""

    images: tuple[str, ...]
    format: InputFormat
    key: str
    seed: int

    @property
    def inputs(self) -> TrainingImages:
        """The images as they are fed."""

        def feeds() -> Iterator[NDArray[np.float32]]:
            for image in self.images:
                watchdog.step()
                tensor = Preprocessor(decode_image(image)).tensor(self.format)
                yield np.asarray(tensor, np.float32)

        return TrainingImages(feeds, self.key)


@dataclass(frozen=True)
class LearnedBlock:
    """How a block learned; errors as in :class:`trimtab.variants.slimming.Learned`."""

    error_before: float
    error: float
    epochs: int


@dataclass(frozen=True)
class BuiltNetwork:
    """How a slimmed network was made; `taught` has the fields of Distilled but for its
    model, or there is a reason why it could not be (`untaught`)."""

    parts: tuple[SlimmedPart, ...]
    taught: dict[str, float] | None
    untaught: str | None
