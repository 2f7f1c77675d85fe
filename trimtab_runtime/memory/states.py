"""What a memory is made of: the arrays of taps, the kernel's settings, states with nothing in
them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from trimtab_runtime.definitions.exits import ExitThresholds, Memory, Tap
from trimtab_runtime.errors import BundleError
from trimtab_runtime.images.preprocess import THUMBNAIL_SIDE
from trimtab_runtime.memory import kernel
from trimtab_runtime.memory.kernel import Entries, PlanState, Rules, TapModel, TapState

Array = Any

_THUMBNAIL_SIZE = 3 * THUMBNAIL_SIDE**2
#: What reading an .npz file raises where it is damaged.
DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


class TapArrays(NamedTuple):
    """What a tap is equipped with: see :class:`trimtab_runtime.definitions.exits.Exits`."""

    mean: Array
    scale: Array
    centres: Array
    members: Array
    temperature: Array


_NOTHING = np.zeros(0, np.float32)
#: Of a tap that asks nothing.
NO_ARRAYS = TapArrays(_NOTHING, _NOTHING, _NOTHING, _NOTHING, np.ones(2, np.float32))


def read_arrays(path: str) -> dict[str, Array]:
    """All arrays of an .npz file. Raises one of DAMAGED."""
    with open(path, "rb") as stream:  # NumPy itself leaves a damaged file open
        archive = np.load(stream, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("one array, and no .npz")
        with archive:
            found = {name: archive[name] for name in archive.files}
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name} is no array")
    return found


def read_tap_arrays(path: str, taps: int) -> list[TapArrays]:
    """The arrays of a stage's taps. Raises BundleError."""
    try:
        found = read_arrays(path)
        return [
            TapArrays(*(found[f"{name}_{tap}"] for name in TapArrays._fields))
            for tap in range(taps)
        ]
    except DAMAGED as error:
        raise BundleError(f"{path}: the arrays of its taps cannot be read ({error})") from None


def check_tap_arrays(
    path: str, taps: Sequence[Tap], arrays: Sequence[TapArrays], classes: int
) -> None:
    """Raises BundleError where arrays do not fit their taps, or hold what is no number."""
    for number, (tap, found) in enumerate(zip(taps, arrays)):
        channels = len(found.mean) if found.mean.ndim == 1 else 0
        wanted: dict[str, tuple[int, ...]] = {
            "mean": (max(channels, 1),),
            "scale": (channels,),
            "temperature": (2,),
        }
        if "centres" in tap.kinds:
            wanted.update(centres=(classes, channels), members=(classes,))
        for name, shape in wanted.items():
            array = getattr(found, name)
            if array.shape != shape or array.dtype.kind not in "fiu":
                raise BundleError(
                    f"{path}: {name}_{number} must be numbers {shape}, got {array.dtype} "
                    f"{array.shape}"
                )
            if not np.isfinite(array.astype(np.float32)).all():
                raise BundleError(f"{path}: {name}_{number} holds NaN or infinity")
        if not (found.temperature > 0).all():
            raise BundleError(f"{path}: temperature_{number} > 0 must hold")
        if "centres" in tap.kinds and (found.members < 0).any():
            raise BundleError(f"{path}: members_{number} >= 0 must hold")


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
    """What never changes at each tap; a tap with a head alone reads no vector, of 0 channels."""
    models = []
    for tap, found in zip(taps, arrays):
        instances, centres, heads = (k in tap.kinds for k in ("instances", "centres", "heads"))
        read = len(found.mean) if instances or centres else 0
        models.append(
            TapModel(
                np.ascontiguousarray(found.mean[:read], np.float32),
                np.ascontiguousarray(found.scale[:read], np.float32),
                float(found.temperature[0]),
                float(found.temperature[1]),
                instances,
                centres,
                heads,
            )
        )
    return tuple(models)


def fresh_plan_state(memory: Memory, classes: int) -> PlanState:
    """Nothing remembered yet: all classes are hot, the prior is flat."""
    return PlanState(
        _entries(memory.thumbnails, _THUMBNAIL_SIZE, classes),
        frequency=np.zeros(classes),
        last_seen=np.zeros(classes, np.int64),
        hot=np.arange(classes, dtype=np.int64),
        hot_count=np.array([classes], np.int64),
        counts=np.zeros(classes),
        log_prior=np.zeros(classes, np.float32),
        clock=np.zeros(1, np.int64),
    )


def fresh_tap_states(
    memory: Memory, models: Sequence[TapModel], arrays: Sequence[TapArrays], classes: int
) -> tuple[TapState, ...]:
    """No instances yet, and the centres as they were fitted."""
    states = []
    for model, found in zip(models, arrays):
        centres = np.array(found.centres if model.centres else [], np.float32)
        centres = centres.reshape(classes if model.centres else 0, len(model.mean))
        norms = np.sqrt((centres**2).sum(axis=1)) + np.float32(1e-12)
        entries = _entries(memory.instances if model.instances else 0, len(model.mean), classes)
        members = np.array(found.members if model.centres else [], np.float32)
        states.append(TapState(entries, centres, norms, members))
    return tuple(states)


def every_array(plan: PlanState, taps: Sequence[TapState]) -> dict[str, Array]:
    """The arrays of states, by name."""
    found: dict[str, Array] = {}
    states: list[tuple[str, Any]] = [("", plan)]
    states += [(f"tap_{number}_", tap) for number, tap in enumerate(taps)]
    for prefix, state in states:
        for name, value in state._asdict().items():
            if isinstance(value, Entries):
                parts = value._asdict().items()
                found.update({f"{prefix}{name}_{part}": array for part, array in parts})
            else:
                found[prefix + name] = value
    return found


def why_unfit(own: Mapping[str, Array], found: Mapping[str, Array]) -> Optional[str]:
    """Why saved arrays cannot be those of a memory; None where they can."""
    for name in sorted(own.keys() | found.keys()):
        mine, other = own.get(name), found.get(name)
        if mine is None or other is None or (mine.shape, mine.dtype) != (other.shape, other.dtype):
            return f"the memory of another plan ({name} differs)"
        if other.dtype.kind == "f" and not np.isfinite(other).all():
            return f"{name} holds NaN or infinity"
        if name.endswith(("_members", "counts", "frequency")) and (other < 0).any():
            return f"{name} >= 0 must hold"
    classes, clock = len(found["hot"]), int(found["clock"][0])
    count = int(found["hot_count"][0])
    hot = found["hot"]
    if not 1 <= count <= classes or not set(hot.tolist()) <= set(range(classes)):
        return "its hot classes cannot be"
    if (np.diff(hot[:count]) <= 0).any():
        return "its hot classes are not in order"
    times = [a for name, a in found.items() if name.endswith(("_used", "last_seen")) and a.size]
    if clock < 0 or any(t.min() < kernel.NEVER or t.max() > clock for t in times):
        return "its clock cannot be"
    return None


def _entries(count: int, size: int, classes: int) -> Entries:
    return Entries(
        np.zeros((count, size), np.float32),
        np.zeros((count, classes), np.float32),
        np.full(count, kernel.NEVER, np.int64),
    )
