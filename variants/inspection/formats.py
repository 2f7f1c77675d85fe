"""Merging what a model file tells with what the job specification says."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimtab.variants.inspection.contradictions import RAW, fed_pixels
from trimtab.variants.inspection.facts import ModelFacts, inspect_model
from trimtab.variants.inspection.preprocessing import GEOMETRY_FIELDS, geometry, in_pixels
from trimtab_runtime.definitions.plan import InputFormat, OutputFormat, Variant
from trimtab_runtime.errors import ModelError

_INPUT_FIELDS = ("size", *GEOMETRY_FIELDS, "values", "mean", "std", "layout", "dtype", "colour")
_OUTPUT_FIELDS = ("kind", "offset", "threshold", "name", "index")

#: Types of inputs that take normalised values.
FLOATS = ("float32", "float16")
#: Those that a Cast behind a float32 input makes (see variants.open_view).
_CAST = ("bfloat16", "float64")

# Ranges of real values (lowest, highest) over which a quantised input covers every pixel evenly:
# then the stored value is the pixel itself, whatever the scale.
_PIXEL_RANGES = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0), (-128.0, 127.0), (-0.5, 0.5))


def make_variant(
    path: Path | str,
    facts: ModelFacts,
    input: Mapping[str, Any],
    output: Mapping[str, Any],
    name: str,
) -> Variant:
    """A member as it came.

    `input` may hold size (pixels, or [height, width]), the geometry (resize, fit, resize_size,
    crop, pad_colour, antialias, resize_last, cut_rounding), mean and std (a number or a list) of
    pixels in the range `values`, layout, dtype, colour; `output` kind ('binary': one score for two
    classes), threshold and offset, and name or index, which choose an output when the file is
    opened and are not looked at here. Absent and None mean: not said.

    What is said wins over what the file only seems to say (see :func:`find_contradictions`). What
    contradicts something that the file fixes raises ModelError naming both, and where something
    is left out that the file does not tell (the mean and std of a float input, an open size),
    ModelError names what to give. Quantised inputs take raw pixels by default, and graphs that
    normalise for themselves the pixels, or values of 0..1, that they ask for.
    """
    said_input = _said(name, "input", input, _INPUT_FIELDS)
    said_output = _said(name, "output", output, _OUTPUT_FIELDS)
    size = _size(name, facts, said_input.get("size"))
    if facts.tried_size != size:
        facts = _completed(Path(path), facts, size, name)
    return Variant(
        name=name,
        sha256=facts.sha256,
        format=facts.format,
        size_bytes=facts.size_bytes,
        input=_input_format(name, facts, said_input, size),
        output=_output_format(name, facts, said_output),
    )


def needs_normalisation(facts: ModelFacts) -> bool:
    """Whether the mean and std of training must be given, as neither the graph nor the type of
    the input tells them."""
    if facts.dtype in FLOATS:
        return facts.normalised_inside is None
    try:
        _covers_pixels("", facts)
    except ModelError:
        return True
    return False


def derive_variant(
    path: Path | str, parent: Variant, name: str, facts: ModelFacts | None = None
) -> Variant:
    """The variant of a file made from `parent`: same image in, same classes out, other content.
    `facts` are the file's, where they are known.

    Raises ModelError when the file cannot be read, or does not take and give what `parent` does.
    """
    facts = facts or inspect_model(path, size=parent.input.size)
    found = (facts.format, facts.input_size or parent.input.size, facts.layout, facts.dtype)
    wanted = (parent.format, parent.input.size, parent.input.layout, parent.input.dtype)
    if found != wanted or facts.channels != parent.input.channels:
        raise ModelError(f"{name}: takes {found}, but {parent.name} takes {wanted}")
    quantisation = facts.output_quantisation
    return dataclasses.replace(
        parent,
        name=name,
        sha256=facts.sha256,
        size_bytes=facts.size_bytes,
        input=dataclasses.replace(parent.input, quantisation=facts.input_quantisation),
        output=dataclasses.replace(parent.output, quantisation=quantisation),
    )


def _said(
    name: str, part: str, values: Mapping[str, Any], allowed: tuple[str, ...]
) -> dict[str, Any]:
    unknown = sorted(set(values) - set(allowed))
    if unknown:
        raise ModelError(f"{name}: {part}.{unknown[0]} is unknown; known: {', '.join(allowed)}")
    return {key: value for key, value in values.items() if value is not None}


def _contradiction(name: str, field: str, said: object, told: object) -> ModelError:
    return ModelError(
        f"{name}: the specification says {field}: {said}, but the model file says {told}; leave "
        f"{field} out, or name another file"
    )


def _completed(path: Path, facts: ModelFacts, size: tuple[int, int], name: str) -> ModelFacts:
    """The facts of a file with an open input size, now that the size is known."""
    found = inspect_model(path, size=size)
    if found.sha256 != facts.sha256:
        raise ModelError(f"{name}: {path} has changed since it was inspected")
    return found


def _number(name: str, field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ModelError(f"{name}: {field} must be a finite number, got {value!r}")
    return float(value)


def _whole(name: str, field: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ModelError(f"{name}: {field} must be a whole number, got {value!r}")
    return value


def _size(name: str, facts: ModelFacts, said: object) -> tuple[int, int]:
    told = facts.input_size
    if said is None:
        if facts.inner_size is not None:
            return facts.inner_size
        if told is None:
            raise ModelError(
                f"{name}: the model file leaves its input size open"
                + (f", {facts.open_axes}" if facts.open_axes else "")
                + "; give input.size in pixels, as in training: input: {size: 224}, or "
                "{size: [height, width]}"
            )
        return told
    if isinstance(said, (list, tuple)):
        if len(said) != 2:
            raise ModelError(f"{name}: input.size must be a number or [height, width], got {said}")
        size = (_whole(name, "input.size", said[0]), _whole(name, "input.size", said[1]))
    else:
        size = (_whole(name, "input.size", said),) * 2
    if told is not None and told != size:
        raise _contradiction(name, "input.size", said, f"{told[0]}x{told[1]}")
    if min(size) < 1 or max(size) > 16384:
        raise ModelError(f"{name}: 1 <= input.size <= 16384 must hold, got {said}")
    return size


def _input_format(
    name: str, facts: ModelFacts, said: Mapping[str, Any], size: tuple[int, int]
) -> InputFormat:
    for field in ("layout", "dtype"):
        told, given = getattr(facts, field), said.get(field)
        if told == "float32" and given in _CAST:
            continue
        if given not in (None, told):
            raise _contradiction(name, f"input.{field}", said[field], told)
    mean, std = _normalisation(name, facts, said)
    fitted = geometry(said)
    if _fits_inside(facts, said):
        fitted["fit"] = "inside"
    if fitted.get("fit") == "inside" and facts.inner_size is None:
        raise ModelError(
            f"{name}: input.fit: inside is for graphs that resize images of any size themselves, "
            "which this one does not; say squash, crop or pad"
        )
    try:
        return InputFormat(
            size=size,
            mean=mean,
            std=std,
            layout=facts.layout,
            dtype=facts.dtype,
            colour=_colour(name, facts, said.get("colour")),
            quantisation=facts.input_quantisation,
            **fitted,
        )
    except (ValueError, TypeError) as error:
        raise ModelError(f"{name}: input: {error}") from error


def _fits_inside(facts: ModelFacts, said: Mapping[str, Any]) -> bool:
    """Whether a graph that resizes images itself is left to do so, as nothing else is said."""
    told = {"size", *GEOMETRY_FIELDS} - {"resize", "antialias"}
    return facts.inner_size is not None and not told & set(said)


def _colour(name: str, facts: ModelFacts, said: object) -> str:
    allowed = ("gray",) if facts.channels == 1 else ("rgb", "bgr")
    if said is None:
        return allowed[0]
    if said not in allowed:
        raise _contradiction(
            name, "input.colour", said, f"{facts.channels} channel(s), so {' or '.join(allowed)}"
        )
    return str(said)


def _normalisation(
    name: str, facts: ModelFacts, said: Mapping[str, Any]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    given = [key for key in ("mean", "std") if key in said]
    if len(given) == 1:
        raise ModelError(f"{name}: input.mean and input.std belong together, got only {given[0]}")
    if given or "values" in said:
        plain = {"mean": 0.0, "std": 1.0, **said}
        mean, std = (_values(name, f"input.{key}", plain[key]) for key in ("mean", "std"))
        mean, std = in_pixels(name, said.get("values"), mean, std)
        if facts.dtype not in FLOATS and facts.input_quantisation is None and (mean, std) != RAW:
            raise ModelError(
                f"{name}: the {facts.dtype} input has no scale and zero point in the file, so it "
                "takes raw pixels; leave input.mean and input.std out"
            )
        return mean, std
    if facts.normalised_inside is not None and facts.dtype in FLOATS:
        return fed_pixels(facts.normalised_inside)
    if facts.dtype in FLOATS:
        raise ModelError(
            f"{name}: the file does not tell how its float input is normalised; give input.mean "
            "and input.std in pixels, as in training (for example mean: 127.5, std: 127.5, or "
            "mean: 0, std: 255), or input.values: 0..255, 0..1 or -1..1"
        )
    _covers_pixels(name, facts)
    return RAW


def _values(name: str, field: str, said: object) -> tuple[float, ...]:
    if isinstance(said, (list, tuple)):
        found = tuple(_number(name, field, value) for value in said)
        return found[:1] if len(found) == 3 and len(set(found)) == 1 else found
    return (_number(name, field, said),)


def _covers_pixels(name: str, facts: ModelFacts) -> None:
    """A quantised input takes the raw pixel where its range is a plain one (within 3 %), and was
    made for what it holds: int8 without zero point is symmetric in ONNX files whatever it holds,
    values of 0..1 in half its range or values of -1..1 in all of it."""
    quantisation = facts.input_quantisation
    if quantisation is None:
        return
    lowest = -128 if facts.dtype == "int8" else 0
    low = (lowest - quantisation.zero_point) * quantisation.scale
    high = low + 255 * quantisation.scale
    if (facts.format, facts.dtype, quantisation.zero_point) == ("onnx", "int8", 0):
        raise ModelError(
            f"{name}: the int8 input covers {low:.3g} to {high:.3g} with zero point 0, which may "
            "stand for normalised values of several kinds; give the input.mean and input.std of "
            "training in pixels (mean: 0, std: 255 for values of 0..1; mean: 127.5, std: 127.5 "
            "for -1..1)"
        )
    for plain_low, plain_high in _PIXEL_RANGES:
        slack = 0.03 * (plain_high - plain_low)
        if abs(low - plain_low) <= slack and abs(high - plain_high) <= slack:
            return
    raise ModelError(
        f"{name}: the quantised input covers {low:.3g} to {high:.3g}, which is no plain range of "
        "pixels; give the input.mean and input.std of training, or mean: 0 and std: 1 where it "
        "takes raw pixels"
    )


def _output_format(name: str, facts: ModelFacts, said: Mapping[str, Any]) -> OutputFormat:
    kind = said.get("kind")
    width, offset = facts.output_width or 0, _whole(name, "output.offset", said.get("offset", 0))
    threshold = _threshold(name, said, width)
    if kind in (None, "binary"):
        kind = facts.output_kind or "logits"
    if threshold is None and (offset < 0 or width - offset < 2):
        raise ModelError(
            f"{name}: 0 <= output.offset <= outputs - 2 must hold, got offset {offset} of {width} "
            "outputs"
        )
    try:
        return OutputFormat(kind, offset, facts.output_quantisation, threshold=threshold)
    except ValueError as error:
        raise ModelError(f"{name}: output: {error}") from error


def _threshold(name: str, said: Mapping[str, Any], width: int) -> float | None:
    """The threshold of a single score; None where there is a score a class."""
    if width == 1:
        return _number(name, "output.threshold", said.get("threshold", 0.5))
    for field, given in (
        ("kind: binary", said.get("kind") == "binary"),
        ("threshold", "threshold" in said),
    ):
        if given:
            raise ModelError(
                f"{name}: output.{field} is for a single score, but the model gives {width}; "
                f"leave it out, or choose the output that is meant by output.name"
            )
    return None
