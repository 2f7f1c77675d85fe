"""Routers and scorers that run: small ONNX models beside the stages of a plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import numpy as np

from trimtab_runtime.definitions.plan import RuntimeOptions, Structure
from trimtab_runtime.definitions.routers import Router
from trimtab_runtime.engines._onnx import load_session
from trimtab_runtime.engines.base import told
from trimtab_runtime.errors import InferenceError, ModelError
from trimtab_runtime.images.preprocess import Preprocessor
from trimtab_runtime.plans.routing import entries

Array = Any
#: What a tap says: its pooled vector (channels,) and its head's logits (classes,), if it has one.
Reading = tuple[Array, Optional[Array]]

#: One thread that does not spin: these models are too small for more.
_OPTIONS = RuntimeOptions("onnxruntime")


class _Model:
    """An onnxruntime session with one named input and one named output, both float32."""

    def __init__(self, path: str, name: str, reads: str, writes: str) -> None:
        self.name, self._reads, self._writes = name, reads, [writes]
        self._session = load_session(path, name, _OPTIONS)
        inputs = {each.name: each for each in self._session.get_inputs()}
        outputs = {each.name: each for each in self._session.get_outputs()}
        if list(inputs) != [reads] or list(outputs) != [writes]:
            raise ModelError(
                f"{name}: input {reads!r} and output {writes!r} needed, it has "
                f"{', '.join(inputs)} and {', '.join(outputs)}"
            )
        for each in (inputs[reads], outputs[writes]):
            if each.type != "tensor(float)":
                raise ModelError(f"{name}: {each.name!r} must be float32, not {each.type}")
        self._shapes = {reads: inputs[reads].shape, writes: outputs[writes].shape}

    def check_last(self, tensor: str, size: int) -> None:
        """Raises ModelError where the last dimension of a tensor is known and not `size`."""
        shape = self._shapes[tensor]
        if shape and isinstance(shape[-1], int) and shape[-1] != size:
            raise ModelError(f"{self.name}: {tensor!r} has {shape[-1]} values, the plan {size}")

    def run(self, tensor: Array) -> Array:
        """The output, flat; raises InferenceError on NaN or infinity."""
        try:
            (raw,) = self._session.run(self._writes, {self._reads: tensor})
        except Exception as error:  # onnxruntime's own errors share no public base class
            raise InferenceError(f"{self.name}: {told(error)}") from error
        if not np.isfinite(raw).all():
            raise InferenceError(f"{self.name} answered with NaN or infinity")
        return raw.reshape(-1)


class LoadedScorer:
    """A scorer's model. Not safe for use from several threads at a time."""

    def __init__(self, path: str) -> None:
        self._model = _Model(path, "the scorer", "probabilities", "score")
        self._model.check_last("score", 1)

    def score(self, probabilities: Array) -> float:
        """How likely an answer from probabilities (classes,) is good. Raises InferenceError."""
        found = self._model.run(probabilities[None])
        if len(found) != 1:
            raise InferenceError(f"the scorer gave {len(found)} scores for one answer")
        return float(found[0])


class LoadedRouter:
    """A router's model. Not safe for use from several threads at a time."""

    def __init__(self, router: Router, path: str) -> None:
        self.router = router
        self._model = _Model(path, "the router", "features", "scores")
        self._model.check_last("scores", len(router.costs_ms))
        if router.names:
            self._model.check_last("features", len(router.names))
        router.looks_at.load()

    def features(self, image: Preprocessor) -> Array:
        """What the model reads of an image, with batch axis; not for routers at a tap."""
        return self.router.looks_at.read(self.router, image)

    def scores(self, features: Array) -> Array:
        """One a stage (stages,), of features with batch axis. Raises InferenceError."""
        found = self._model.run(features)
        if len(found) != len(self.router.costs_ms):
            raise InferenceError(
                f"the router gave {len(found)} scores for {len(self.router.costs_ms)} stages"
            )
        return found

    def entry(self, features: Array, price: float) -> int:
        """The stage where an input with these features enters."""
        return int(entries(self.scores(features), self.router.costs_ms, price))

    def enter(
        self, image: Preprocessor, first: Any, price: float
    ) -> tuple[int, Optional[Reading]]:
        """The stage where an image enters. After a router at a tap, the `first` stage
        (:class:`trimtab_runtime.plans.stage.LoadedStage`) stands at its first tap, whose reading
        this is."""
        features, reading = self.look(image, first)
        return self.entry(features, price), reading

    def look(self, image: Preprocessor, first: Any) -> tuple[Array, Optional[Reading]]:
        """The features of an image, and the reading as of `enter`."""
        if not self.router.looks_at.at_tap:
            return self.features(image), None
        first.start(image)
        reading: Reading = first.tap()
        return reading[0][None], reading


def load_router(structure: Structure, place: Callable[[str], Path]) -> Optional[LoadedRouter]:
    """The router of a plan; None where it has none. `place` tells where a model lies, by its
    sha256. Raises EngineError or ModelError."""
    if structure.router is None:
        return None
    return LoadedRouter(structure.router, str(place(structure.router.model)))
