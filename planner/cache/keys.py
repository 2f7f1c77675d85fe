"""Content keys: what a variant, a measurement or a trace depends on, and the sha256 of that.

The store finds by its key what was made before, also what an earlier version made. So what a key
is made of may grow, but what is there already keeps its key: a new part is left out while it has
the value that it always had (as `memory` below).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx
import onnxruntime

from trimtab.profilers.device import device_key
from trimtab.variants import INSPECTION_VERSION, VIEW_VERSION, Wishes
from trimtab.workloads import Item
from trimtab_runtime.codec import content_key, encode
from trimtab_runtime.definitions.exits import NO_MEMORY, Exits, Memory
from trimtab_runtime.definitions.plan import RuntimeOptions, Variant
from trimtab_runtime.definitions.routers import Router
from trimtab_runtime.probe.requests import MeasureSettings

_COMPUTED_BY = ("machine", "isa", "numpy", "pillow")

Content = dict[str, Any]

#: The step of a variant for images of another size.
RESIZED = "other input size"


def images_key(items: Iterable[Item]) -> str:
    """Images, by their contents in their order."""
    return content_key([item.sha256 for item in items])


def io_of(variant: Variant) -> Content:
    """A variant's formats as they enter the keys of what is known of it."""
    return {"input": encode(variant.input), "output": encode(variant.output)}


# ---- variants, by their lineage ----


def variant_key(lineage: Mapping[str, Any]) -> str:
    """The key of a variant with this lineage: one of those below."""
    return content_key(lineage)


def member_lineage(variant: Variant, source_sha256: str, torch: str | None) -> Content:
    """A member as it came: a file, or exported from what `torch` names; read and run as another
    file that stands for it, where the `variant` is one."""
    exported = {} if torch is None else {"torch": torch}
    viewed = {} if variant.sha256 == source_sha256 else {"view": variant.sha256}
    return {
        "step": "member",
        **exported,
        "sha256": source_sha256,
        "io": io_of(variant),
        **viewed,
    }


def view_key(source: object, wishes: Wishes) -> str:
    """The view of a model file, made of its `source` as `wishes` say."""
    later = ("signature", "newest")
    said = {name: value for name, value in encode(wishes).items() if value or name not in later}
    version = {"version": VIEW_VERSION} if VIEW_VERSION > 1 else {}
    return content_key(
        {
            "source": source,
            "wishes": said,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            **version,
        }
    )


def precision_lineage(step: str, parent: str, recipe: object, images: Iterable[Item]) -> Content:
    """A variant in another precision (`step`), of the variant with the key `parent`."""
    return {
        "step": step,
        "parent": parent,
        "recipe": encode(recipe),
        "images": images_key(images),
        "onnxruntime": onnxruntime.__version__,
    }


def resized_lineage(parent: str, size: tuple[int, int]) -> Content:
    """A variant for images of another `size` (height, width)."""
    return {"step": RESIZED, "parent": parent, "size": list(size)}


def score_lineage(variant: Variant, images: Iterable[Item], said: Mapping[str, Any]) -> Content:
    """What quantising a block of a float variant alone does to its answers on `images`; `said`
    are the block's nodes, and how it is quantised and compared."""
    return {
        "step": "block error",
        "sha256": variant.sha256,
        "io": io_of(variant),
        "images": images_key(images),
        **said,
        "onnxruntime": onnxruntime.__version__,
    }


def slimmed_lineage(
    parent: str,
    blocks: Sequence[str],
    inputs: str,
    learning: Mapping[str, Any],
    distillation: Mapping[str, Any],
    seed: int,
) -> Content:
    """A variant with learned `blocks` (by their keys), of images with the key `inputs`."""
    return {
        "step": "slim",
        "parent": parent,
        "blocks": list(blocks),
        "inputs": inputs,
        "learn": dict(learning),
        "distill": dict(distillation),
        "seed": seed,
        "onnxruntime": onnxruntime.__version__,
    }


def segment_lineage(
    parent: str, taps: Iterable[tuple[str, Sequence[str]]], files: Sequence[str], number: int
) -> Content:
    """File `number` of a variant that was cut at `taps` (with their kinds) into `files` (sha256):
    the segments, and last the arrays of the taps."""
    return {
        "parent": parent,
        "taps": [[name, list(kinds)] for name, kinds in taps],
        "files": list(files),
        "step": "tap arrays" if number == len(files) - 1 else "segment",
        "number": number,
    }


def facts_lineage(sha256: str, size: tuple[int, int] | None, engine: str) -> Content:
    """What a file tells that is tried with images of `size` (height, width) by this `engine`, with
    its version."""
    return {
        "step": "inspected",
        "sha256": sha256,
        "size": list(size) if size else None,
        "engine": engine,
        "version": INSPECTION_VERSION,
    }


def decider_lineage(step: str, parents: Sequence[str], sha256: str) -> Content:
    """The file of a 'router' or a 'scorer' for stages of the variants `parents`."""
    return {"step": step, "parents": list(parents), "sha256": sha256}


def setup_check_lineage(
    members: Sequence[Variant], items: Iterable[Item], classes: Sequence[str], version: int
) -> Content:
    """The check of how members are fed and read, on images with their labels."""
    items = list(items)
    return {
        "step": "setup check",
        "members": [
            {"name": member.name, "sha256": member.sha256, "io": io_of(member)}
            for member in members
        ],
        "images": images_key(items),
        "labels": [item.label for item in items],
        "classes": list(classes),
        "version": version,
    }


# ---- measurements ----


def stage_content(
    variant: Variant, options: RuntimeOptions, exits: Exits | None, scorer: str | None
) -> Content:
    """A stage that is measured, in segments where it has `exits`; `scorer` is a sha256."""
    found: Content = {
        "sha256": variant.sha256,
        "io": io_of(variant),
        "options": encode(options),
    }
    if exits is not None:
        found["exits"] = encode(exits)
    if scorer is not None:
        found["scorer"] = scorer
    return found


def measurement_content(
    stages: Sequence[Content],
    settings: MeasureSettings,
    images: Iterable[Item],
    visit: int,
    memory: Memory,
    router: Router | None,
    largest_pixels: int | None = None,
) -> Content:
    """Stages (:func:`stage_content`) measured in one process; see MeasurementCache."""
    found: Content = {
        "kind": "measure" if len(stages) == 1 and not visit else "together",
        "settings": encode(settings),
        "images": images_key(images),
        "visit": visit,
        "stages": list(stages),
    }
    if memory != NO_MEMORY:
        found["memory"] = encode(memory)
    if router is not None:
        found["router"] = encode(router)
    if largest_pixels is not None:
        found["largest_pixels"] = largest_pixels
    return found


def measurement_key(fingerprint: Mapping[str, str], content: Mapping[str, Any]) -> str:
    """The key of what :func:`measurement_content` describes, on the device of a fingerprint."""
    return content_key({"device": device_key(fingerprint), **content})


def race_content(models: Iterable[str], rounds: int) -> Content:
    """Networks (by what they compute) that take turns in one process."""
    return {"kind": "race", "models": list(models), "rounds": rounds}


def race_key(
    fingerprint: Mapping[str, str], options: RuntimeOptions, content: Mapping[str, Any]
) -> str:
    """The key of what :func:`race_content` describes, on the device of a fingerprint."""
    device = device_key(fingerprint)
    return content_key({"device": device, "options": encode(options), **content})


# ---- traces ----


def engine_key(options: RuntimeOptions, fingerprint: Mapping[str, str]) -> str:
    """What numbers depend on: the options that change them, and the version of the engine."""
    return f"{options.numeric_key}/{fingerprint.get(options.engine, '')}"


def outputs_content(
    variant: Variant, engine: str, exits: Exits | None = None, thumbnails: bool = False
) -> Content:
    """What a variant says with an :func:`engine_key`; cut where it has `exits`, with
    `thumbnails` of the images where it is whole and they were asked for."""
    what: Content = {"sha256": variant.sha256}
    if exits is not None:
        what = {"segments": list(exits.segments)}
    elif thumbnails:
        what["thumbnails"] = True
    return {"kind": "trace", "engine": engine, **what, "io": io_of(variant)}


def features_content(names: Iterable[str]) -> Content:
    """Features of images, whatever the variant."""
    return {"kind": "features", "names": list(names)}


def trace_key(
    fingerprint: Mapping[str, str], content: Mapping[str, Any], images: Iterable[str]
) -> str:
    """The key of :func:`outputs_content` or :func:`features_content` on `images` (sha256), as a
    device of that fingerprint computes it."""
    computed_by = {part: fingerprint.get(part, "") for part in _COMPUTED_BY}
    return content_key({**content, "by": computed_by, "images": list(images)})
