"""The semantic memory of a running plan: bounded, inspected, reset, saved and restored."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from trimtab_runtime import kernel
from trimtab_runtime.errors import BundleError
from trimtab_runtime.exits import ExitThresholds, Memory, Tap
from trimtab_runtime.kernel import Entries, PlanState, Rules, TapModel, TapState

Array = Any

#: Pixels a side of the thumbnails that are compared, three colours each.
THUMBNAIL_SIDE = 8
_THUMBNAIL_SIZE = 3 * THUMBNAIL_SIDE**2


class TapArrays(NamedTuple):
    """What a tap is equipped with: see :class:`trimtab_runtime.exits.Exits`."""

    mean: Array
    scale: Array
    centres: Array
    temperature: Array


def read_tap_arrays(path: str, taps: int) -> list[TapArrays]:
    """The arrays of a stage's taps. Raises BundleError."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return [
                TapArrays(*(archive[f"{name}_{tap}"] for name in TapArrays._fields))
                for tap in range(taps)
            ]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"{path}: the arrays of its taps cannot be read ({error})") from None


def rules_of(memory: Memory, thresholds: ExitThresholds) -> Rules:
    """Settings and thresholds as the kernel takes them."""
    far, centres, prior = float("inf"), memory.centres, memory.prior
    return Rules(
        thumbnails=-far if thresholds.thumbnails is None else thresholds.thumbnails,
        instances=far if thresholds.instances is None else thresholds.instances,
        centres=far if thresholds.centres is None else thresholds.centres,
        heads=far if thresholds.heads is None else thresholds.heads,
        by_probability=centres is not None and centres.measure == "probability",
        update_at_exits=centres is not None and centres.update == "exits",
        update_always=centres is not None and centres.update == "all",
        window=centres.window if centres else 0,
        hot_share=centres.hot_share if centres else 1.0,
        decay=prior.decay if prior else 0.0,
        smoothing=prior.smoothing if prior else 1.0,
        prior_weight=prior.weight if prior else 0.0,
        prior_final=prior.final if prior else 0.0,
    )


def tap_models(taps: Sequence[Tap], arrays: Sequence[TapArrays]) -> tuple[TapModel, ...]:
    """What never changes at each tap."""
    return tuple(
        TapModel(
            np.ascontiguousarray(found.mean, np.float32),
            np.ascontiguousarray(found.scale, np.float32),
            float(found.temperature[0]),
            float(found.temperature[1]),
            *(kind in tap.kinds for kind in ("instances", "centres", "heads")),
        )
        for tap, found in zip(taps, arrays)
    )


def fresh_plan_state(memory: Memory, classes: int) -> PlanState:
    """Nothing remembered yet: all classes are hot, the prior is flat."""
    return PlanState(
        _entries(memory.thumbnails, _THUMBNAIL_SIZE, classes),
        frequency=np.zeros(classes),
        last_seen=np.zeros(classes, np.int64),
        hot=np.arange(classes),
        hot_count=np.array([classes]),
        counts=np.zeros(classes),
        log_prior=np.zeros(classes, np.float32),
        clock=np.zeros(1, np.int64),
    )


def fresh_tap_states(
    memory: Memory, models: Sequence[TapModel], arrays: Sequence[TapArrays], classes: int
) -> tuple[TapState, ...]:
    """No instances yet, and the centres as they were fitted, each of one member."""
    states = []
    for model, found in zip(models, arrays):
        centres = np.array(found.centres if model.centres else [], np.float32)
        centres = centres.reshape(classes if model.centres else 0, len(model.mean))
        norms = np.sqrt((centres**2).sum(axis=1)) + np.float32(1e-12)
        entries = _entries(memory.instances if model.instances else 0, len(model.mean), classes)
        states.append(TapState(entries, centres, norms, np.ones(len(centres), np.float32)))
    return tuple(states)


def _entries(count: int, size: int, classes: int) -> Entries:
    return Entries(
        np.zeros((count, size), np.float32),
        np.zeros((count, classes), np.float32),
        np.full(count, kernel.NEVER, np.int64),
    )


class Recall:
    """The memory of one plan while it runs.

    `begin`, then `at_thumbnail` (where thumbnails are kept), then `at_tap` for every tap in the
    order in which the frame comes to it, until one answers; or `weighed` on what a network said;
    then `finish`. No label enters anywhere.
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
        self.reset()

    def use(self, thresholds: ExitThresholds) -> None:
        """Answer from these thresholds on; what is remembered stays."""
        self.rules = rules_of(self.memory, thresholds)

    def reset(self) -> None:
        """Forget everything."""
        self._plan = fresh_plan_state(self.memory, self.classes)
        self._taps = fresh_tap_states(self.memory, self._models, self._arrays, self.classes)

    def begin(self) -> None:
        """A new frame."""
        self._passed: list[Array] = []
        self._thumbnail: Optional[Array] = None
        self._slot, self._by = kernel.NEVER, kernel.NETWORK

    def at_thumbnail(self, thumbnail: Array) -> Optional[Array]:
        """What is answered (classes,) to a frame with this thumbnail (size,); None: nothing."""
        self._thumbnail, entries = thumbnail, self._plan.thumbnails
        slot, distance = kernel.nearest_thumbnail(thumbnail, entries)
        if not distance <= self.rules.thumbnails:
            return None
        self._slot, self._by = slot, kernel.THUMBNAILS
        self._said[:] = entries.said[slot]
        return self._said

    def at_tap(self, vector: Array, logits: Optional[Array]) -> Optional[Array]:
        """What is answered (classes,) at the next tap, whose pooled vector is (channels,) and
        whose head says `logits` (classes,); None: nothing."""
        tap = len(self._passed)
        if tap in self._starts:
            self._scores[:] = 0.0
        model = self._models[tap]
        vector = kernel.standardised(vector, model)
        self._passed.append(vector)
        by, slot = kernel.look(
            vector,
            self._no_logits if logits is None else logits,
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

    def finish(self, said: Array, answer: int) -> tuple[int, int]:
        """Learn from the frame. Who answered it (kernel.NETWORK ...), and at which tap (-1: at
        none)."""
        last, at_tap = len(self._passed) - 1, self._by > kernel.THUMBNAILS
        for tap, vector in enumerate(self._passed):
            slot = self._slot if tap == last and self._by == kernel.INSTANCES else kernel.NEVER
            kernel.keep(
                vector,
                said,
                self._taps[tap],
                self._models[tap],
                self._plan,
                self.rules,
                slot,
                at_tap,
            )
        if self._thumbnail is not None:
            slot = self._slot if self._by == kernel.THUMBNAILS else kernel.NEVER
            kernel.keep_thumbnail(self._thumbnail, said, self._plan, slot)
        kernel.end_frame(answer, self._plan, self.rules)
        return self._by, last if at_tap else -1

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
        """Write what is remembered to an .npz file."""
        with open(path, "wb") as stream:
            np.savez(stream, **self._everything())

    def restore(self, path: str) -> None:
        """Remember what :meth:`save` wrote. Raises BundleError when the file is damaged, or of a
        plan with another memory; then nothing is changed."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                found = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise BundleError(f"{path}: no saved memory ({error})") from None
        self._check(path, found)
        for name, array in self._everything().items():
            array[...] = found[name]

    def snapshot(self) -> dict[str, Array]:
        """A copy for :meth:`put_back`."""
        return {name: array.copy() for name, array in self._everything().items()}

    def put_back(self, snapshot: Mapping[str, Array]) -> None:
        """Forget what came after a snapshot."""
        for name, array in self._everything().items():
            array[...] = snapshot[name]

    def _check(self, path: str, found: Mapping[str, Array]) -> None:
        own = self._everything()
        for name in sorted(own.keys() | found.keys()):
            mine, other = own.get(name), found.get(name)
            if (
                mine is None
                or other is None
                or (mine.shape, mine.dtype)
                != (
                    other.shape,
                    other.dtype,
                )
            ):
                raise BundleError(f"{path}: the memory of another plan ({name} differs)")
            if other.dtype.kind == "f" and not np.isfinite(other).all():
                raise BundleError(f"{path}: {name} holds NaN or infinity")
        self._check_numbers(path, found)

    def _check_numbers(self, path: str, found: Mapping[str, Array]) -> None:
        hot, count, clock = found["hot"], int(found["hot_count"][0]), int(found["clock"][0])
        sound = 1 <= count <= self.classes and ((hot >= 0) & (hot < self.classes)).all()
        if not sound or clock < 0:
            raise BundleError(f"{path}: its hot classes or its clock cannot be")

    def _everything(self) -> dict[str, Array]:
        """Every array that changes, by name."""
        found: dict[str, Array] = {}
        for name, value in self._plan._asdict().items():
            if isinstance(value, Entries):
                found.update({f"{name}_{part}": a for part, a in value._asdict().items()})
            else:
                found[name] = value
        for number, tap in enumerate(self._taps):
            for name, value in tap._asdict().items():
                if isinstance(value, Entries):
                    parts = value._asdict().items()
                    found.update({f"tap_{number}_{part}": array for part, array in parts})
                else:
                    found[f"tap_{number}_{name}"] = value
        return found
