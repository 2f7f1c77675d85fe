"""The text of a starter specification."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trimtab.planner.specification.found_model import FoundModel, model_lines
from trimtab.planner.specification.yaml_text import GUESS, comment, relative, scalar
from trimtab.workloads import ClassCounts, Workload, class_counts, split_workload
from trimtab_runtime.metrics import recall_of

SPLITS = (0.25, 0.375, 0.375)


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
        f"name: {scalar(folder.absolute().name[:100] or 'job')}",
        "device: local  # or over SSH: ssh://user@host",
        "",
        "models:",
    ]
    for model in models:
        lines += model_lines(model, here, images.shapes, images.workload.classes)
    lines += [f"  # Left out: {comment(problem)}" for problem in problems]
    if not labelled:
        largest = max(models, key=lambda model: model.facts.size_bytes)
        name = largest.name or largest.path.stem
        lines += [
            "",
            "# The images have no labels: quality is the agreement with this model's answers.",
            f"reference: {scalar(name)}{GUESS} the largest model; give your best one",
        ]
    lines += ["", "workload:", *_workload_lines(images, here)]
    return "\n".join([*lines, "", *_job_lines(counts)]) + "\n"


def _workload_lines(images: FoundImages, here: Path) -> list[str]:
    workload = images.workload
    counts, kind = class_counts(workload), "no labels"
    if counts is not None:
        table = any(any(images.folder.glob(p)) for p in ("labels.csv", "*/labels.csv"))
        source = "labels from labels.csv" if table else "a folder each"
        kind = f"{len(workload.classes)} classes, {source}: {counts.text}"
    lines = [
        f"  # {len(workload)} images, {comment(kind)}.",
        f"  images: {scalar(relative(images.folder, here))}",
    ]
    lines += [f"  # CHECK: {comment(notice)}" for notice in workload.notices]
    lines += [f"  # Not used: {comment(relative(other, here))}" for other in images.others]
    if images.order:
        names = ", ".join(map(scalar, images.order))
        lines.append(f"  classes: [{names}]  # the order in which answers fit the labels")
    elif images.classes:
        lines.append(f"  classes: {scalar(relative(images.classes, here))}")
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
            f"  # Splits as they lie there: {_split_text(workload)}. Images of train calibrate,",
            "  # of val decide, of test report.",
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
        about = f"  # classes are uneven: {comment(common)} alone is {most / counts.images:.1%}"
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
        "  # sizes: true          # the same models with smaller images too",
        "",
        "budget:",
        "  minutes: 20            # of measuring; run a stopped job again to resume it",
        "",
        "verify: 6                # plans whose bundle is measured on the device",
    ]
