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
    offset: int = 0
    colour: str | None = None
    evidence: str = ""
    doubt: str = ""

    @property
    def classes(self) -> int:
        return (self.facts.output_width or 0) - self.offset


@dataclass
class FoundImages:
    """The workload that was found, with its class file; `others` are folders not used, `order` are
    the classes as outputs have them, where answers say so."""

    folder: Path
    workload: Workload
    classes: Path | None = None
    others: list[Path] = field(default_factory=list)
    order: tuple[str, ...] = ()


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
        "# A starter specification for Trimtab. Lines marked GUESS hold what no file tells:",
        "# check them against how the models were trained. Paths are relative to this file.",
        "",
        f"name: {_scalar(folder.absolute().name[:100] or 'job')}",
        "device: local  # or one behind SSH: ssh://user@host",
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
            "# The images have no labels: agreement with this member's answers stands in.",
            f"reference: {_scalar(name)}{GUESS} the largest model; name your best one",
        ]
    lines += ["", "workload:", *_workload_lines(images, here)]
    return "\n".join([*lines, "", *_job_lines(labelled)]) + "\n"


def _model_lines(model: FoundModel, here: Path, classes: int) -> list[str]:
    facts = model.facts
    height, width = facts.input_size or model.size or OPEN_SIZE
    open_size = " (left open by the file)" if model.size else ""
    lines = [
        f"  # {facts.size_bytes / 2**20:.1f} MB; takes {height}x{width}{open_size}, "
        f"{facts.channels} channel(s), {facts.dtype}, {facts.layout};",
        f"  # gives {facts.output_width} {facts.output_kind}.",
        f"  - path: {_scalar(_relative(model.path, here))}",
    ]
    if model.name:
        lines.append(f"    name: {_scalar(model.name)}")
    lines.append("    input:")
    if model.size:
        lines.append(f"      size: {model.size[0]}{GUESS} the size of training")
    if model.normalisation:
        mean, std = model.normalisation
        notes = [f"  # {model.evidence}", "  # in pixels (0..255), one number or one a channel"]
        if not model.evidence:
            notes = [
                f"{GUESS} in pixels (0..255), one number or one a channel;",
                f"{GUESS} ImageNet's: [123.7, 116.3, 103.5], [58.4, 57.1, 57.4]",
            ]
        lines += [f"      mean: {_values(mean)}{notes[0]}", f"      std: {_values(std)}{notes[1]}"]
    if model.colour:
        lines.append(f"      colour: {model.colour}  # {model.evidence}")
    lines.append(f"      resize: bilinear{GUESS} or bicubic, nearest, box, hamming, lanczos")
    if model.doubt:
        lines.append(f"      # CHECK: {_comment(model.doubt)}")
    if model.offset:
        lines += [
            "    output:",
            f"      offset: {model.offset}{GUESS} one output more than classes, so the first is "
            "background",
        ]
    elif classes and model.classes != classes:
        lines.append(
            f"    # CHECK: {model.classes} outputs, but the images have {classes} classes; name "
            "all in workload.classes"
        )
    return lines


def _workload_lines(images: FoundImages, here: Path) -> list[str]:
    workload = images.workload
    kind = "no labels"
    if workload.labels is not None:
        kind = f"{len(workload.classes)} classes"
        table = (images.folder / "labels.csv").exists()
        kind += ", labels from labels.csv" if table else ", a folder each"
    lines = [
        f"  # {len(workload)} images, {kind}.",
        f"  images: {_scalar(_relative(images.folder, here))}",
    ]
    lines += [f"  # Not used: {_comment(_relative(other, here))}" for other in images.others]
    if images.order:
        names = ", ".join(map(_scalar, images.order))
        lines.append(f"  classes: [{names}]  # the order in which answers fit the labels")
    elif images.classes:
        lines.append(f"  classes: {_scalar(_relative(images.classes, here))}")
    else:
        lines.append("  # classes: classes.txt   # class names in the order of the outputs")
    fit, tune, test = SPLITS
    return [
        *lines,
        "  splits:",
        f"    # Shares, or numbers of images; these give {_split_text(workload)}.",
        f"    fit: {fit}      # calibrates",
        f"    tune: {tune}    # decides",
        f"    test: {test}    # reports",
        "    # group: object   # a column of labels.csv: images of one object stay together",
    ]


def _split_text(workload: Workload) -> str:
    sizes = split_workload(workload, *SPLITS, 0).sizes
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
        "  cascade: true          # easy inputs stop at a small model",
        "  quantisation: [w8a8]   # of ONNX models",
        "",
        "budget:",
        "  minutes: 20            # of measuring; a job that is stopped goes on where it was",
        "",
        "verify: 6                # plans of the front whose bundle is run on the device",
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
