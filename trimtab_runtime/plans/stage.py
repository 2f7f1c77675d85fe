"""A stage that runs: an image in, outputs and probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from trimtab_runtime.definitions.plan import Stage, Variant
from trimtab_runtime.engines import Engine, SegmentedEngine, create_engine, create_segments
from trimtab_runtime.images.preprocess import Preprocessor
from trimtab_runtime.plans.deciders import LoadedScorer
from trimtab_runtime.plans.routing import calibrated

Array = Any


class LoadedStage:
    """An engine with its calibration. `taps` are those at which its engine can stop; a `scorer`
    says how sure an answer is."""

    def __init__(
        self, engine: Engine, stage: Stage, scorer: Optional[LoadedScorer] = None
    ) -> None:
        self.engine, self.scorer = engine, scorer
        self.variant: Variant = engine.variant
        self.taps = stage.exits.taps if stage.exits else ()
        self._temperature = stage.temperature

    def outputs(self, image: Preprocessor) -> np.ndarray[Any, Any]:
        """Outputs (classes,) as the model gives them."""
        return self.engine.run(image.tensor(self.variant.input))

    def probabilities(self, outputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = calibrated(outputs, self.variant.output, self._temperature)
        return found

    def confidence(self, probabilities: Array, largest: float) -> float:
        """What is compared with the threshold of this stage, where a plan would answer from
        `probabilities` (classes,), whose largest is given. Raises InferenceError."""
        return largest if self.scorer is None else self.scorer.score(probabilities)

    def start(self, image: Preprocessor) -> None:
        """A new image, to be run from tap to tap."""
        raise NotImplementedError

    def tap(self) -> tuple[Array, Optional[Array]]:
        """Run to the next tap: see :class:`trimtab_runtime.engines.SegmentedEngine`."""
        raise NotImplementedError

    def finish(self) -> Array:
        """Run to the end: probabilities (classes,)."""
        raise NotImplementedError


class WholeStage(LoadedStage):
    """Runs from end to end."""

    def start(self, image: Preprocessor) -> None:
        self._image = image

    def finish(self) -> Array:
        image = self._image
        del self._image  # no photograph stays in memory while the next is decoded
        return self.probabilities(self.outputs(image))


class SegmentedStage(LoadedStage):
    """Runs from tap to tap."""

    engine: SegmentedEngine

    def start(self, image: Preprocessor) -> None:
        self.engine.start(image.tensor(self.variant.input))

    def tap(self) -> tuple[Array, Optional[Array]]:
        return self.engine.tap()

    def finish(self) -> Array:
        return self.probabilities(self.engine.finish())


def load_stage(
    stage: Stage,
    variant: Variant,
    model: str,
    segments: Sequence[str] = (),
    scorer: Optional[str] = None,
) -> LoadedStage:
    """Load a stage from the file of its model or, where it has exits, those of its segments, and
    that of its `scorer`, where it has one.

    Raises as :func:`trimtab_runtime.engines.create_engine`.
    """
    loaded = None if scorer is None else LoadedScorer(scorer)
    if stage.exits is None:
        return WholeStage(create_engine(model, variant, stage.options), stage, loaded)
    engine = create_segments(segments, variant, stage.exits, stage.options)
    return SegmentedStage(engine, stage, loaded)
