"""A model that was found for a starter specification, and its lines there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trimtab.planner.specification.shapes import misfits
from trimtab.planner.specification.yaml_text import GUESS, comment, relative, scalar
from trimtab.variants import (
    CompletedInput,
    LabelFit,
    ModelDescription,
    ModelFacts,
    fit_labels,
)
from trimtab.variants.files.onnx_input import fed_range
from trimtab.variants.inspection.preprocessing import GEOMETRY_FIELDS
from trimtab.workloads.images.synsets import all_of_imagenet, imagenet_synsets

OPEN_SIZE = (224, 224)
_SHOWN = 6
Values = float | Sequence[float]


@dataclass
class FoundModel:
    """A member as it will be specified; `size` only where nothing tells it. `normalisation`
    is mean and std, `geometry` holds fields of how images are fitted into the input, `evidence`
    what was seen when it was tried so (''; it was not), `doubt` what speaks against it all the
    same. `view` is the file that stands for it. Of what describes it,
    `read` are fields of its input and `sources` where they are from; `names` tell its outputs, and
    where the classes stand among them (`fit`)."""

    path: Path
    name: str | None
    facts: ModelFacts
    size: tuple[int, int] | None
    normalisation: tuple[Values, Values] | None
    notes: tuple[str, ...] = ()
    offset: int = 0
    colour: str | None = None
    geometry: Mapping[str, Any] = field(default_factory=dict)
    evidence: str = ""
    doubt: str = ""
    view: Path = Path()
    read: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    names: tuple[str, tuple[str, ...]] = ("", ())
    fit: LabelFit | None = None

    def describe(self, description: ModelDescription, read: CompletedInput) -> None:
        """Take over what describes the model."""
        self.read, self.sources = dict(read.fields), dict(read.sources)
        if description.size is not None:
            self.read["size"] = description.size
            self.sources["size"] = description.size_source
        named = (each for each in description.sources if each.labels)
        first = next(named, None)
        self.names = (first.source, first.labels) if first else ("", ())

    def find_classes(self, classes: Sequence[str]) -> None:
        """Where the classes of the images stand among its named outputs, if they do."""
        numbers = list(classes) == [str(index) for index in range(len(classes))]
        if self.names[1] and classes and not numbers:
            fit = fit_labels(self.names[1], self.facts.output_width or 0, classes)
            self.fit = None if isinstance(fit, str) else fit
            self.offset = self.fit.offset if self.fit else 0

    @property
    def input(self) -> dict[str, Any]:
        """What its specification will say of its input."""
        said = dict(self.read)
        said.setdefault("size", self.size)
        if self.normalisation:
            said["mean"], said["std"] = self.normalisation
        if self.colour:
            said["colour"] = self.colour
        return said

    @property
    def binary(self) -> bool:
        """Whether one score tells two classes apart."""
        return self.facts.output_width == 1

    @property
    def classes(self) -> int:
        if self.fit is not None:
            return len(self.fit.places)
        return 2 if self.binary else (self.facts.output_width or 0) - self.offset


def model_lines(
    model: FoundModel, here: Path, shapes: Counter[tuple[int, int]], classes: Sequence[str]
) -> list[str]:
    """Lines of YAML for a member of a specification in the folder `here`. `shapes` are how many
    images have which width and height, `classes` those of the images."""
    facts = model.facts
    height, width = facts.input_size or facts.inner_size or model.size or OPEN_SIZE
    open_size = " (dynamic in the file)" if model.size else ""
    open_size = " (to which it resizes images of any size)" if facts.inner_size else open_size
    lines = [
        f"  # {facts.size_bytes / 2**20:.1f} MB; input {height}x{width}{open_size}, "
        f"{facts.channels} channel(s), {facts.dtype}, {facts.layout};",
        f"  # output {facts.output_width} {facts.output_kind}.",
        *(f"  # {comment(note)}" for note in (*model.notes, *_named_outputs(model))),
        f"  - path: {scalar(relative(model.path, here))}",
    ]
    if model.name:
        lines.append(f"    name: {scalar(model.name)}")
    lines += ["    input:", *_input_lines(model, shapes, (height, width))]
    return [*lines, *_output_lines(model, classes)]


def _named_outputs(model: FoundModel) -> list[str]:
    """What names a model's outputs, and whether the images' classes are among them."""
    source, names = model.names
    if not names:
        return []
    few = ", ".join(names[:_SHOWN]) + (f", ... {len(names)} in all" if len(names) > _SHOWN else "")
    found = "; the images' classes are found among them by name" if model.fit else ""
    return [f"{source} names its outputs: {few}{found}"]


def _input_lines(
    model: FoundModel, shapes: Counter[tuple[int, int]], size: tuple[int, int]
) -> list[str]:
    facts, sources = model.facts, model.sources
    lines = []
    if "size" in model.read:
        lines.append(f"      size: {_field(model.read['size'])}  # {sources['size']}")
    elif model.size:
        lines.append(f"      size: {model.size[0]}{GUESS} the input size in training")
    if model.normalisation:
        mean, std = model.normalisation
        known = "; ".join(text for text in (sources.get("mean"), model.evidence) if text)
        notes = [f"  # {comment(known)}", "  # in pixels (0..255), one number or one per channel"]
        if not known:
            notes = [
                f"{GUESS} in pixels (0..255), one number or one per channel;",
                f"{GUESS} ImageNet's: [123.7, 116.3, 103.5], [58.4, 57.1, 57.4]",
            ]
        lines += [f"      mean: {_values(mean)}{notes[0]}", f"      std: {_values(std)}{notes[1]}"]
    if model.colour:
        lines.append(f"      colour: {model.colour}  # {model.evidence}")
    lines += [
        f"      {name}: {_field(model.read[name])}  # {sources[name]}"
        for name in ("colour", *GEOMETRY_FIELDS)
        if name in model.read
        and not (name == "colour" and model.colour)
        and name not in model.geometry
    ]
    lines += [
        f"      {name}: {_field(value)}  # {model.evidence}"
        for name, value in model.geometry.items()
    ]
    if facts.inner_size:
        lines.append("      fit: inside  # the graph resizes images itself")
    elif "fit" not in {**model.read, **model.geometry}:
        lines += _fit_lines(shapes, size)
    if "resize" not in {**model.read, **model.geometry} and not facts.inner_size:
        lines.append(f"      resize: bilinear{GUESS} or bicubic, nearest, box, hamming, lanczos")
    if model.doubt:
        lines.append(f"      # CHECK: {comment(model.doubt)}")
    if facts.normalised_inside and not model.normalisation:
        off, by = (" ".join(f"{value:g}" for value in each) for each in facts.normalised_inside)
        fed = fed_range(facts.normalised_inside) if facts.dtype.startswith("float") else "0..255"
        lines += [
            f"      # No mean and std: the graph takes off {off} and divides by {by};",
            f"      # it is fed values of {fed}.",
        ]
    return lines


def _output_lines(model: FoundModel, classes: Sequence[str]) -> list[str]:
    lines: list[str] = []
    if model.binary:
        told = "  # by the names of its outputs" if model.fit else ""
        turned = "      # classes: [SECOND, FIRST]   # where the score is that of the first class"
        lines += [
            "    output:",
            f"      kind: binary{told or f'{GUESS} the one score is that of the second class,'}",
            "      threshold: 0.5  # which it is from here on; or tuned, the best of validation",
            *([] if model.fit else [turned]),
        ]
    elif model.offset:
        told = f"  # {model.names[0]} names a background first" if model.fit else ""
        guess = f"{GUESS} one more output than classes, so the first is taken as background"
        lines += ["    output:", f"      offset: {model.offset}{told or guess}"]
    if not classes or model.classes == len(classes):
        return lines
    if model.classes == len(imagenet_synsets()) and all_of_imagenet(classes):
        lines.append(
            f"    # {len(classes)} of its {model.classes} classes are used, by their WordNet ids."
        )
    else:
        lines.append(
            f"    # CHECK: {model.classes} outputs, but the images have {len(classes)} classes; "
            "name all in workload.classes, or the model's own in output.classes"
        )
    return lines


def _fit_lines(shapes: Counter[tuple[int, int]], size: tuple[int, int]) -> list[str]:
    others = misfits(shapes, size)
    if not others:
        return []
    return [
        f"      # CHECK: {others.total()} of {shapes.total()} images looked at have another shape "
        f"({next(iter(others))}), and are",
        "      # squashed into the input's unless you say how it was in training:",
        "      # fit: crop   # resizes the shorter side to resize_size, cuts the centre; or pad",
    ]


def _values(values: Values) -> str:
    """A number, or one a channel."""
    several = values if isinstance(values, (list, tuple)) else (values,)
    texts = [f"{value:.5g}" for value in several]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _field(value: Any) -> str:
    """A field of an input as YAML."""
    if isinstance(value, (list, tuple)):
        several = [str(each) for each in value]
        return several[0] if len(set(several)) == 1 else f"[{', '.join(several)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
