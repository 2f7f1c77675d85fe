"""The text of a starter specification."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from trimtab.variants import ModelFacts
from trimtab.workloads import Workload, split_workload

GUESS = "  # GUESS:"
OPEN_SIZE = (224, 224)
_SPLITS = (0.25, 0.375, 0.375)


@dataclass
class FoundModel:
    """A member as it will be specified; `size` only where the file leaves it open."""

    path: Path
    name: str | None
    facts: ModelFacts
    size: tuple[int, int] | None
    normalisation: tuple[float, float] | None
    offset: int = 0

    @property
    def classes(self) -> int:
        return (self.facts.output_width or 0) - self.offset


@dataclass
class FoundImages:
    """The workload that was found, with its class file; `others` are folders not used."""

    folder: Path
    workload: Workload
    classes: Path | None = None
    others: list[Path] = field(default_factory=list)


def starter_text(
    folder: Path,
    output: Path,
    models: Sequence[FoundModel],
    images: FoundImages,
    problems: Sequence[str],
) -> str:
    """YAML with comments, for `models` and `images` found below `folder`."""
    here = output.absolute().parent
    labelled = images.workload.labels is not None
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
        lines += _model_lines(model, here, len(images.workload.classes))
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
    return "\n".join([*lines, "", *_job_lines(labelled)]) + "\n"


def _model_lines(model: FoundModel, here: Path, classes: int) -> list[str]:
    facts = model.facts
    height, width = facts.input_size or model.size or OPEN_SIZE
    open_size = " (dynamic in the file)" if model.size else ""
    lines = [
        f"  # {facts.size_bytes / 2**20:.1f} MB; input {height}x{width}{open_size}, "
        f"{facts.channels} channel(s), {facts.dtype}, {facts.layout};",
        f"  # output {facts.output_width} {facts.output_kind}.",
        f"  - path: {_scalar(_relative(model.path, here))}",
    ]
    if model.name:
        lines.append(f"    name: {_scalar(model.name)}")
    lines.append("    input:")
    if model.size:
        lines.append(f"      size: {model.size[0]}{GUESS} the input size in training")
    if model.normalisation:
        mean, std = model.normalisation
        lines += [
            f"      mean: {mean:g}{GUESS} in pixels (0..255), one number or one per channel;",
            f"      std: {std:g}{GUESS} ImageNet's: [123.7, 116.3, 103.5], [58.4, 57.1, 57.4]",
        ]
    lines.append(f"      resize: bilinear{GUESS} or bicubic, nearest, box, hamming, lanczos")
    if model.offset:
        lines += [
            "    output:",
            f"      offset: {model.offset}{GUESS} one more output than classes, so the first is "
            "taken as background",
        ]
    elif classes and model.classes != classes:
        lines.append(
            f"    # CHECK: {model.classes} outputs, but the images have {classes} classes; "
            "list all in workload.classes"
        )
    return lines


def _workload_lines(images: FoundImages, here: Path) -> list[str]:
    workload = images.workload
    kind = "no labels"
    if workload.labels is not None:
        kind = f"{len(workload.classes)} classes"
        table = (images.folder / "labels.csv").exists()
        kind += ", labels from labels.csv" if table else ", one folder per class"
    lines = [
        f"  # {len(workload)} images, {kind}.",
        f"  images: {_scalar(_relative(images.folder, here))}",
    ]
    lines += [f"  # Not used: {_comment(_relative(other, here))}" for other in images.others]
    if images.classes:
        lines.append(f"  classes: {_scalar(_relative(images.classes, here))}")
    else:
        lines.append("  # classes: classes.txt   # class names in the order of the outputs")
    fit, tune, test = _SPLITS
    return [
        *lines,
        "  splits:",
        f"    # Shares, or numbers of images; these give {_split_text(workload)}.",
        f"    fit: {fit}      # calibration: quantisation, heads and routers are fitted on it",
        f"    tune: {tune}    # validation: plans are selected on it",
        f"    test: {test}    # test: only reported",
        "    # group: object   # a column of labels.csv: images of one object stay in one split",
    ]


def _split_text(workload: Workload) -> str:
    sizes = split_workload(workload, *_SPLITS, 0).sizes
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def _job_lines(labelled: bool) -> list[str]:
    quality = "top1" if labelled else "agreement"
    return [
        "objectives:",
        f"  {quality}: max",
        "  latency_mean_ms: min",
        "  peak_memory_mb: min",
        "",
        "# constraints:",
        f'#   - "{quality} >= 0.99 * baseline"',
        '#   - "latency_p95_ms <= 30"',
        "",
        "techniques:",
        "  cascade: true          # a small model answers easy inputs",
        "  quantisation: [w8a8]   # int8 variants of ONNX models",
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
