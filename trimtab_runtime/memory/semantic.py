"""The semantic memory of a running plan: bounded, inspected, reset, saved and restored."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np

from trimtab_runtime.definitions.exits import ExitThresholds, Memory, Tap
from trimtab_runtime.errors import BundleError, InferenceError
from trimtab_runtime.images.preprocess import THUMBNAIL_SIDE
from trimtab_runtime.memory import kernel
from trimtab_runtime.memory.kernel import PlanState, TapState
from trimtab_runtime.memory.states import (
    DAMAGED,
    TapArrays,
    every_array,
    fresh_plan_state,
    fresh_tap_states,
    read_arrays,
    read_tap_arrays,
    rules_of,
    tap_models,
    why_unfit,
)

__all__ = [
    "THUMBNAIL_SIDE",
    "Recall",
    "TapArrays",
    "fresh_plan_state",
    "fresh_tap_states",
    "read_tap_arrays",
    "rules_of",
    "tap_models",
]

Array = Any

#: Numbers of a network whose squares can be summed in float32.
_LARGEST = 1e15


class Recall:
    """The memory of one plan while it runs.

    Users need :meth:`reset`, :meth:`summary`, :meth:`save` and :meth:`restore`. A plan that runs
    calls `begin`, then `at_thumbnail` (where thumbnails are kept), then `at_tap` for every tap in
    the order in which the frame comes to it, until one answers; or `weighed` on what a network
    said; then `finish`. No label enters anywhere. Not safe for use from several threads at a time.
    """

    def __init__(
        self,
        memory: Memory,
        taps: Sequence[Tap],
        arrays: Sequence[TapArrays],
        classes: int,
        stage_starts: Sequence[int] = (0,),
    ) -> None:
        self.memory, self.classes = memory, classes
        self._arrays, self._starts = list(arrays), frozenset(stage_starts)
        self._models = tap_models(taps, arrays)
        self._names = [tap.name for tap in taps]
        self._said = np.zeros(classes, np.float32)
        self._scores = np.zeros(classes, np.float32)
        self._no_logits = np.zeros(classes, np.float32)
        self.rules = rules_of(memory, ExitThresholds())
        self._plan, self._taps = self._fresh()
        self.reset()  # written once, its pages are there before the first frame
        self.begin()

    def use(self, thresholds: ExitThresholds) -> None:
        """Answer from these thresholds on; what is remembered stays."""
        self.rules = rules_of(self.memory, thresholds)

    def reset(self) -> None:
        """Forget everything."""
        self.put_back(every_array(*self._fresh()))

    def _fresh(self) -> tuple[PlanState, tuple[TapState, ...]]:
        return (
            fresh_plan_state(self.memory, self.classes),
            fresh_tap_states(self.memory, self._models, self._arrays, self.classes),
        )

    def begin(self) -> None:
        """A new frame."""
        self._passed: list[tuple[int, Array]] = []
        self._thumbnail: Optional[Array] = None
        self._slot, self._by = kernel.NEVER, kernel.NETWORK

    def at_thumbnail(self, thumbnail: Array) -> Optional[Array]:
        """What is answered (classes,) to a frame with this thumbnail (size,); None: nothing. The
        array is the memory's own, until the next frame."""
        self._thumbnail, entries = thumbnail, self._plan.thumbnails
        slot, distance = kernel.nearest_thumbnail(thumbnail, entries)
        if not distance <= self.rules.thumbnails:
            return None
        self._slot, self._by = slot, kernel.THUMBNAILS
        self._said[:] = entries.said[slot]
        return self._said

    def at_tap(
        self, vector: Array, logits: Optional[Array], tap: Optional[int] = None
    ) -> Optional[Array]:
        """What is answered (classes,) at the next tap (or number `tap`), whose pooled vector is
        (channels,), unread where a head alone is asked, and whose head says `logits` (classes,);
        None: nothing. The array is the memory's own, until the next frame. Raises InferenceError
        where the sizes do not fit."""
        if tap is None:
            tap = len(self._passed)
        if tap in self._starts:
            self._scores[:] = 0.0
        model = self._models[tap]
        reads = model.instances or model.centres
        if reads and len(vector) != len(model.mean):
            raise InferenceError(
                f"tap {self._names[tap]} gave a vector of {len(vector)} channels, its arrays are "
                f"made for {len(model.mean)}"
            )
        if logits is None:
            logits = self._no_logits
        elif len(logits) != self.classes:
            raise InferenceError(
                f"the head at {self._names[tap]} tells {len(logits)} classes apart, the plan "
                f"{self.classes}"
            )
        vector = kernel.standardised(vector, model) if reads else model.mean
        for name, values in (("a vector", vector), ("scores", logits)):
            if not (np.abs(values) < _LARGEST).all():  # of NaN it is not either
                raise InferenceError(
                    f"tap {self._names[tap]} gave {name} with NaN, infinity or numbers beyond "
                    f"{_LARGEST:g}, which no memory takes"
                )
        self._passed.append((tap, vector))
        by, slot = kernel.look(
            vector,
            logits,
            self._taps[tap],
            model,
            self._plan,
            self.rules,
            self._scores,
            self._said,
        )
        if by == kernel.NETWORK:
            return None
        self._by, self._slot = by, slot
        return self._said

    def weighed(self, probabilities: Array) -> Array:
        """A network's probabilities (classes,) with the running prior."""
        return kernel.weighed(probabilities, self._plan, self.rules)

    def answered(self) -> tuple[int, int]:
        """Who answers this frame (kernel.NETWORK ...), and at which tap (-1: at none)."""
        return self._by, self._passed[-1][0] if self._by > kernel.THUMBNAILS else -1

    def finish(self, said: Array, answer: int) -> tuple[int, int]:
        """Learn from the frame, answered with probabilities `said` (classes,). As `answered`."""
        by, at = self.answered()
        for tap, vector in self._passed:
            slot = self._slot if tap == at and by == kernel.INSTANCES else kernel.NEVER
            kernel.keep(
                vector,
                said,
                self._taps[tap],
                self._models[tap],
                self._plan,
                self.rules,
                slot,
                at >= 0,
            )
        if self._thumbnail is not None:
            slot = self._slot if by == kernel.THUMBNAILS else kernel.NEVER
            kernel.keep_thumbnail(self._thumbnail, said, self._plan, slot)
        kernel.end_frame(answer, said, self._plan, self.rules)
        return by, at

    def summary(self) -> dict[str, Any]:
        """What is remembered now, as plain data."""
        plan, states = self._plan, self._taps
        used = [int((s.entries.used != kernel.NEVER).sum()) for s in states]
        total = plan.counts.sum()
        return {
            "frames": int(plan.clock[0]),
            "thumbnails": int((plan.thumbnails.used != kernel.NEVER).sum()),
            "instances": dict(zip(self._names, used)) if self.memory.instances else {},
            "hot_classes": plan.hot[: plan.hot_count[0]].tolist() if self.rules.window else [],
            "prior": {
                int(c): round(float(plan.counts[c] / total), 4)
                for c in np.argsort(-plan.counts, kind="stable")[:5]
                if plan.counts[c] > 0
            },
            "size_mb": sum(array.nbytes for array in self._everything().values()) / 2**20,
        }

    def save(self, path: str) -> None:
        """Write what is remembered to an .npz file, at once or not at all. Raises OSError, and
        BundleError for what :meth:`restore` would refuse."""
        reason = why_unfit(self._everything(), self._everything())
        if reason is not None:
            raise BundleError(f"{path}: not saved: {reason}; reset the memory")
        target = Path(path)
        handle, partial = tempfile.mkstemp(prefix=f".{target.name}-", dir=str(target.parent))
        try:
            with os.fdopen(handle, "wb") as stream:
                np.savez(stream, **self._everything())
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, str(target))
        finally:
            Path(partial).unlink(missing_ok=True)

    def restore(self, path: str) -> None:
        """Remember what :meth:`save` wrote. Raises BundleError when the file is damaged, or of a
        plan with another memory; then nothing is changed."""
        try:
            found = read_arrays(path)
        except DAMAGED as error:
            raise BundleError(f"{path}: no saved memory ({error})") from None
        reason = why_unfit(self._everything(), found)
        if reason is not None:
            raise BundleError(f"{path}: {reason}")
        self.put_back(found)

    def snapshot(self) -> dict[str, Array]:
        """A copy for :meth:`put_back`."""
        return {name: array.copy() for name, array in self._everything().items()}

    def put_back(self, snapshot: Mapping[str, Array]) -> None:
        """Forget what came after a snapshot."""
        for name, array in self._everything().items():
            array[...] = snapshot[name]

    def _everything(self) -> dict[str, Array]:
        """Every array that changes, by name."""
        return every_array(self._plan, self._taps)
