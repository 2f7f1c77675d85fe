"""The text of a starter specification."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from trimtab.planner.specification.shapes import misfits
from trimtab.variants import ModelFacts
from trimtab.workloads import ClassCounts, Workload, class_counts, split_workload
from trimtab.workloads.images.synsets import all_of_imagenet, imagenet_synsets
from trimtab_runtime.metrics import recall_of

GUESS = "  # GUESS:"
OPEN_SIZE = (224, 224)
Values = float | Sequence[float]
SPLITS = (0.25, 0.375, 0.375)


@dataclass
class FoundModel:
    """A member as it will be specified; `size` only where the file leaves it open. `normalisation`
    is mean and std, `evidence` what was seen when it was tried so (''; it was not), `doubt` what
    speaks against it all the same."""

    path: Path
    name: str | None
    facts: ModelFacts
    size: tuple[int, int] | None
    normalisation: tuple[Values, Values] | None
    notes: tuple[str, ...] = ()
    offset: int = 0
    colour: str | None = None
    evidence: str = ""
    doubt: str = ""

    @property
    def binary(self) -> bool:
        """Whether one score tells two classes apart."""
        return self.facts.output_width == 1

    @property
    def classes(self) -> int:
        return 2 if self.binary else (self.facts.output_width or 0) - self.offset


@dataclass
class FoundImages:
    """The workload that was found, with its class file; `others` are folders not used, `problems`
    the reasons of those that look like workloads and cannot be read, `shapes` how many of the
    images looked at have which width and height, `order` are the
    classes as outputs have them, where answers say so."""

    folder: Path
    workload: Workload
    classes: Path | None = None
    others: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    shapes: Counter[tuple[int, int]] = field(default_factory=Counter)
    order: tuple[str, ...] = ()


def notices_of(workload: Workload) -> list[str]:
    """What must be known of the images: what was assumed, what is missing, rare classes."""
    counts = class_counts(workload)
    uneven = [counts.warning] if counts and counts.warning else []
    broken = len(workload.unreadable)
    lost = [f"{broken} image(s) cannot be opened: {workload.unreadable[0]}"] if broken else []
    return [*workload.notices, *lost, *uneven]


def starter_text(
    folder: Path,
    output: Path,
    models: Sequence[FoundModel],
    images: FoundImages,
    problems: Sequence[str],
) -> str:
    """YAML with comments, for `models` and `images` found below `folder`."""
    here = output.absolute().parent
    counts = class_counts(images.workload)
    labelled = counts is not None
    lines = [
        "# A starter specification for Trimtab. Lines marked GUESS are not known from the files:",
        "# check them against how the models were trained. Paths are relative to this file.",
        "",
        f"name: {_scalar(folder.absolute().name[:100] or 'job')}",
        "device: local  # or over SSH: ssh://user@host",
        "",
        "models:",
    ]
    for model in models:
        lines += _model_lines(model, here, images)
    lines += [f"  # Left out: {_comment(problem)}" for problem in problems]
    if not labelled:
        largest = max(models, key=lambda model: model.facts.size_bytes)
        name = largest.name or largest.path.stem
        lines += [
            "",
            "# The images have no labels: quality is the agreement with this model's answers.",
            f"reference: {_scalar(name)}{GUESS} the largest model; give your best one",
        ]
    lines += ["", "workload:", *_workload_lines(images, here)]
    return "\n".join([*lines, "", *_job_lines(counts)]) + "\n"


def _model_lines(model: FoundModel, here: Path, images: FoundImages) -> list[str]:
    facts, classes = model.facts, images.workload.classes
    height, width = facts.input_size or model.size or OPEN_SIZE
    open_size = " (dynamic in the file)" if model.size else ""
    lines = [
        f"  # {facts.size_bytes / 2**20:.1f} MB; input {height}x{width}{open_size}, "
        f"{facts.channels} channel(s), {facts.dtype}, {facts.layout};",
        f"  # output {facts.output_width} {facts.output_kind}.",
        *(f"  # {_comment(note)}" for note in model.notes),
        f"  - path: {_scalar(_relative(model.path, here))}",
    ]
    if model.name:
        lines.append(f"    name: {_scalar(model.name)}")
    lines.append("    input:")
    if model.size:
        lines.append(f"      size: {model.size[0]}{GUESS} the input size in training")
    if model.normalisation:
        mean, std = model.normalisation
        notes = [f"  # {model.evidence}", "  # in pixels (0..255), one number or one per channel"]
        if not model.evidence:
            notes = [
                f"{GUESS} in pixels (0..255), one number or one per channel;",
                f"{GUESS} ImageNet's: [123.7, 116.3, 103.5], [58.4, 57.1, 57.4]",
            ]
        lines += [f"      mean: {_values(mean)}{notes[0]}", f"      std: {_values(std)}{notes[1]}"]
    if model.colour:
        lines.append(f"      colour: {model.colour}  # {model.evidence}")
    lines += _fit_lines(images.shapes, (height, width))
    lines.append(f"      resize: bilinear{GUESS} or bicubic, nearest, box, hamming, lanczos")
    if model.doubt:
        lines.append(f"      # CHECK: {_comment(model.doubt)}")
    if facts.normalised_inside and not model.normalisation:
        off, by = (" ".join(f"{value:g}" for value in each) for each in facts.normalised_inside)
        lines.append(f"      # No mean and std: the graph takes off {off} and divides by {by}.")
    if model.binary:
        lines += [
            "    output:",
            f"      kind: binary{GUESS} the one score is that of the second class,",
            "      threshold: 0.5  # which it is from here on",
            "      # classes: [SECOND, FIRST]   # where the score is that of the first class",
        ]
    elif model.offset:
        lines += [
            "    output:",
            f"      offset: {model.offset}{GUESS} one more output than classes, so the first is "
            "taken as background",
        ]
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


def _workload_lines(images: FoundImages, here: Path) -> list[str]:
    workload = images.workload
    counts, kind = class_counts(workload), "no labels"
    if counts is not None:
        table = any(any(images.folder.glob(p)) for p in ("labels.csv", "*/labels.csv"))
        source = "labels from labels.csv" if table else "a folder each"
        kind = f"{len(workload.classes)} classes, {source}: {counts.text}"
    lines = [
        f"  # {len(workload)} images, {_comment(kind)}.",
        f"  images: {_scalar(_relative(images.folder, here))}",
    ]
    lines += [f"  # CHECK: {_comment(notice)}" for notice in workload.notices]
    lines += [f"  # Not used: {_comment(_relative(other, here))}" for other in images.others]
    if images.order:
        names = ", ".join(map(_scalar, images.order))
        lines.append(f"  classes: [{names}]  # the order in which answers fit the labels")
    elif images.classes:
        lines.append(f"  classes: {_scalar(_relative(images.classes, here))}")
    else:
        lines.append("  # classes: classes.txt   # class names in the order of the outputs")
    return [
        *lines,
        "  # exclude: seen.txt      # images that models saw in training",
        *_splits(workload),
    ]


def _splits(workload: Workload) -> list[str]:
    if any(item.split for item in workload.items):
        return [
            f"  # Splits by their folders: {_split_text(workload)}. Images of train calibrate, of",
            "  # val decide, of test report.",
        ]
    fit, tune, test = SPLITS
    return [
        "  splits:",
        f"    # Shares, or numbers of images; these give {_split_text(workload)}.",
        f"    fit: {fit}      # calibration: quantisation, heads and routers are fitted on it",
        f"    tune: {tune}    # validation: plans are selected on it",
        f"    test: {test}    # test: only reported",
        "    # group: object   # a column of labels.csv: images of one object stay in one split",
    ]


def _split_text(workload: Workload) -> str:
    sizes = split_workload(workload, *SPLITS, 0).sizes
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def _job_lines(counts: ClassCounts | None) -> list[str]:
    quality, about, rare = "agreement" if counts is None else "top1", "", []
    if counts is not None and counts.uneven:
        (common, most), (name, few) = counts.commonest, counts.rarest
        quality = "balanced_accuracy"
        about = f"  # classes are uneven: {_comment(common)} alone is {most / counts.images:.1%}"
        told = json.dumps(f"{recall_of(name)} >= baseline - 0.02")
        rare = [f"#   - {told}  # the rarest class, {few} image(s)"]
    return [
        "objectives:",
        f"  {quality}: max{about}",
        "  latency_mean_ms: min",
        "  peak_memory_mb: min",
        "",
        "# constraints:",
        f'#   - "{quality} >= 0.99 * baseline"',
        *rare,
        '#   - "latency_p95_ms <= 30"',
        "",
        "techniques:",
        "  cascade: true          # a small model answers easy inputs",
        "  quantisation: [w8a8]   # int8 variants of ONNX models (docs/precision.md)",
        "",
        "budget:",
        "  minutes: 20            # of measuring; run a stopped job again to resume it",
        "",
        "verify: 6                # plans whose bundle is measured on the device",
    ]


def _relative(path: Path, here: Path) -> str:
    """Relative where it lies below the specification, so that both may be moved together."""
    full, base = path.resolve(), here.resolve()
    inside = full.is_relative_to(base)
    return full.relative_to(base).as_posix() if inside else full.as_posix()


def _values(values: Values) -> str:
    """A number, or one a channel."""
    several = values if isinstance(values, (list, tuple)) else (values,)
    texts = [f"{value:.5g}" for value in several]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _scalar(text: str) -> str:
    """A YAML scalar, quoted where it must be."""
    try:
        if yaml.safe_load(f"x: {text} # y") == {"x": text}:
            return text
    except yaml.YAMLError:
        pass
    return json.dumps(text)


def _comment(text: str) -> str:
    return " ".join(text.split())
