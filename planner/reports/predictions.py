"""What plans answer on `test`, input by input: replayed from traces, or as their bundles did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.db import DeviceRecord, JobRecord, PlanRecord, Store
from trimtab.planner.cache.keys import engine_key, outputs_content, trace_key
from trimtab.planner.jobs.dataset import (
    TRACED_FIT,
    class_names,
    load_dataset,
    stops_early,
    used_inputs,
)
from trimtab.planner.jobs.lookup import device_keys
from trimtab.planner.jobs.summary import summary_of
from trimtab.planner.reports.text import printable
from trimtab.planner.specification.job import JobSpec
from trimtab.search.estimates.cluster_bootstrap import block_interval
from trimtab.search.replay.cascade import replay
from trimtab.workloads import Item, Splits, Workload, frame_items, make_stream
from trimtab_runtime.codec import decode
from trimtab_runtime.definitions.plan import PlanDefinition, Stage, Variant
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.plans.routing import calibrated

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TestInputs:
    """The inputs of a job's test split, in the order of their arrival: files of the photographs
    and `labels` (n,) (None: unknown). `blocks` (n,) says which of them depend on each other;
    `rows` (n,) are their rows in traces of `images` (sha256)."""

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    labels: Ints | None
    classes: tuple[str, ...]
    blocks: Ints
    rows: Ints
    images: tuple[str, ...]


@dataclass(frozen=True)
class PlanAnswers:
    """What a plan says on the inputs of test, (n,) each: the class (None: not known), whether it
    is `right` (None without labels). `source` is 'replayed' or 'measured'."""

    answer: Ints | None
    right: NDArray[np.bool_] | None
    source: str


def job_inputs(job: JobRecord) -> TestInputs:
    """Read from the images where they were. Raises WorkloadError where they are gone, and
    PlanningError where they have changed since."""
    spec = JobSpec.model_validate(job.spec)
    workload, splits = load_dataset(spec)
    if workload.key != job.workload_key:
        raise PlanningError(
            f"the images in {spec.workload.images} are not those of the job any more"
        )
    items, shown, tests, blocks = _arrivals(workload, splits, spec)
    images = {sha: n for n, sha in enumerate(dict.fromkeys(item.sha256 for item in items))}
    rows = np.array([images[items[index].sha256] for index in tests], np.int64)
    originals = [workload.items[index] for index in shown]
    return TestInputs(
        paths=tuple(item.path for item in originals),
        names=tuple(printable(items[index].name) for index in tests),
        labels=None if workload.labels is None else workload.labels[shown].astype(np.int64),
        classes=tuple(
            map(printable, class_names(workload.classes, summary_of(job).get("classes", 0)))
        ),
        blocks=blocks,
        rows=rows,
        images=tuple(images),
    )


def _arrivals(
    workload: Workload, splits: Splits, spec: JobSpec
) -> tuple[Sequence[Item], Ints, Ints, Ints]:
    """The traced inputs as `trimtab.planner.jobs.dataset.used_inputs` has them, without writing
    moved frames; which images of the workload test shows, which of the inputs these are, and in
    which blocks."""
    stream = spec.workload.stream
    if stream.kind == "independent" and stream.frames is None:
        items, rows = used_inputs(workload, splits, spec, Path())
        shown = splits.test
        if stops_early(spec):
            shown = make_stream(workload, shown, stream.recipe, splits.seed).items
        objects = np.arange(len(items)) if rows.objects is None else rows.objects
        return items, shown, rows.test, objects[rows.test]
    folder = Path()
    fit = splits.fit[:TRACED_FIT]
    found = [workload.items[index] for index in fit]
    for split in (splits.tune, splits.test):
        made = make_stream(workload, split, stream.recipe, splits.seed)
        begin = len(found)
        found += frame_items(workload, made, folder)
    return found, made.items, np.arange(begin, len(found)), made.blocks


def plan_answers(
    store: Store, job: JobRecord, plan: PlanRecord, inputs: TestInputs
) -> PlanAnswers:
    """What a plan says on the inputs of test. Raises PlanningError where that is not known: of
    plans that stop early, only verified ones have told."""
    definition = decode(PlanDefinition, plan.definition["plan"])
    if definition.structure.stops_early:
        return _measured(store, job, plan, inputs)
    told = zip(definition.structure.stages, plan.definition["stages"], strict=True)
    outputs = [_outputs(store, job, stage, data, inputs) for stage, data in told]
    found = replay(outputs, definition.structure.rule, definition.thresholds)
    right = None if inputs.labels is None else found.answer == inputs.labels
    return PlanAnswers(found.answer, right, "replayed")


def lead(
    first: PlanAnswers, second: PlanAnswers, inputs: TestInputs
) -> tuple[float, float, float] | None:
    """By what fraction of the inputs `first` is right more often than `second`, with its 95 %
    interval: of paired differences, by blocks. None where that is not known."""
    if first.right is None or second.right is None:
        return None
    gain = first.right.astype(np.float64) - second.right
    interval = block_interval(gain, inputs.blocks)
    return None if interval is None else (float(gain.mean()), *interval)


def _measured(store: Store, job: JobRecord, plan: PlanRecord, inputs: TestInputs) -> PlanAnswers:
    records = {record.plan_key: record for record in store.list_verifications(job.id)}
    record = records.get(plan.key)
    right = record.details.get("frames", {}).get("right") if record else None
    if right is None or len(right) != len(inputs.rows):
        raise PlanningError(
            "what it says input by input is not known: of plans that stop early, only the bundles "
            "of verified ones have told"
        )
    return PlanAnswers(None, np.array(right, bool), "measured")


def _outputs(
    store: Store, job: JobRecord, stage: Stage, told: Mapping[str, Any], inputs: TestInputs
) -> Floats:
    """Calibrated probabilities (n, classes) of a stage on the inputs of test, as the first of the
    job's devices computes them."""
    device = next(map(store.get_device, device_keys(job)), None)
    variant = decode(Variant, told["variant"])
    trace = store.get_trace(_trace_key(variant, stage, device, inputs)) if device else None
    if trace is None or trace.artefact_sha256 is None:
        raise PlanningError(f"the trace of {printable(told['name'])} is not in the store")
    with np.load(store.artefacts.path(trace.artefact_sha256), allow_pickle=False) as archive:
        outputs: Floats = archive["outputs"][inputs.rows]
    found: Floats = calibrated(outputs, variant.output, stage.temperature)
    return found


def _trace_key(variant: Variant, stage: Stage, device: DeviceRecord, inputs: TestInputs) -> str:
    """The key of what a variant says on the inputs."""
    engine = engine_key(stage.options, device.fingerprint)
    return trace_key(device.fingerprint, outputs_content(variant, engine), inputs.images)
