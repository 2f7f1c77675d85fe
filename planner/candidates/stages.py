"""Measured candidates as stages: calibrated traces, and costs scaled to one pace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from trimtab.db import MeasurementRecord
from trimtab.planner.cache.measurements import StageSetup
from trimtab.planner.candidates.measured import Measured
from trimtab.planner.jobs.dataset import SplitRows
from trimtab.search.costs.cascade import CascadeCosts
from trimtab.search.costs.pace import CommonPace, pace_ms
from trimtab.search.costs.segmented import FrameOverheads, StageSegments
from trimtab.search.costs.stage import StageCost, Visit, mean_values
from trimtab.search.estimates.calibration import StageTrace
from trimtab.search.estimates.metrics import can_tell, needs_labels, quality_metric
from trimtab.search.estimates.targets import Ints, Targets
from trimtab.search.plans.option import StageOption
from trimtab_runtime.definitions.plan import Stage
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.plans.routing import calibrated


def metric_names(names: Iterable[str], labelled: bool) -> list[str]:
    """The metrics of a job: without labels, agreement takes the place of what would need them."""
    if labelled:
        return list(names)
    return list(dict.fromkeys("agreement" if needs_labels(name) else name for name in names))


def single_values(
    found: Measured, rows: SplitRows, reference: Ints | None, metrics: Sequence[str]
) -> list[float]:
    """What a candidate is worth as a plan of its own, on tune: one value a metric.

    Raises PlanningError for a metric that cannot be told.
    """
    labels = None if rows.labels is None else rows.labels[rows.tune]
    agreed = None if reference is None else reference[rows.tune]
    targets = Targets(labels, agreed, classes=rows.classes)
    costs = CascadeCosts([_stage_cost(found, [visit_of(found.measurement)], common_pace([found]))])
    known = costs.known(np.ones(1))
    outputs = found.outputs[rows.tune]
    for metric in (name for name in metrics if can_tell(targets, name)):
        known[metric] = float(quality_metric(metric).values(targets, outputs).mean())
    missing = [metric for metric in metrics if metric not in known]
    if missing:
        raise PlanningError(f"{', '.join(missing)} could not be measured on this device")
    return [known[metric] for metric in metrics]


def reference_answers(measured: Iterable[Measured], name: str | None) -> Ints | None:
    """What the reference model answers on every input; None without one."""
    for found in measured:
        if found.candidate.member == name and found.candidate.form.is_original:
            answers: Ints = found.outputs.argmax(1).astype(np.int64)
            return answers
    return None


def common_pace(measured: Sequence[Measured]) -> CommonPace:
    """The pace to which all measurements are moved."""
    return CommonPace.of(visit_of(found.measurement) for found in measured)


def reference_ms(measured: Sequence[Measured]) -> float:
    """The time of the plain reference work in the median measurement."""
    return float(np.median([pace_ms(m.measurement.samples["reference_ms"]) for m in measured]))


def stage_options(
    measured: Sequence[Measured],
    fit: Ints,
    targets: Ints,
    pace: CommonPace,
    agreed: Sequence[StageOption] = (),
) -> list[StageOption]:
    """One option a candidate, in order. Of each variant only the fastest without spinning may
    stand in a cascade. Calibrated on `fit`, or as the options `agreed` on another device are."""
    costs = [_stage_cost(found, [visit_of(found.measurement)], pace) for found in measured]
    traces: dict[str, StageTrace] = {}
    best: dict[str, int] = {}
    for index, (found, cost) in enumerate(zip(measured, costs, strict=True)):
        key = found.built.key + found.candidate.options.numeric_key
        if key not in traces:
            fmt = found.built.variant.output
            name = found.built.variant.name
            if agreed:
                heat = agreed[index].stage.temperature
                traces[key] = StageTrace(name, heat, calibrated(found.outputs, fmt, heat))
            else:
                traces[key] = StageTrace.calibrate(name, found.outputs, fmt, fit, targets)
        if found.candidate.options.spinning:
            continue
        rival = best.get(found.built.key)
        if rival is None or cost.total("beside").mean() < costs[rival].total("beside").mean():
            best[found.built.key] = index
    options = []
    for index, (found, cost) in enumerate(zip(measured, costs, strict=True)):
        trace = traces[found.built.key + found.candidate.options.numeric_key]
        stage = Stage(found.built.variant.sha256, found.candidate.options, trace.temperature)
        alone = best.get(found.built.key) != index
        name = found.candidate.label
        options.append(StageOption(name, stage, cost, trace.probabilities, alone))
    return options


def one_per_variant(options: Sequence[StageOption]) -> list[NDArray[np.float32]]:
    return list({option.stage.variant: option.probabilities for option in options}.values())


def costs_together(
    parts: Sequence[Measured], visits: Sequence[MeasurementRecord], pace: CommonPace
) -> tuple[list[StageCost], dict[str, float]]:
    """Stages as they were measured in one process, and what is known of that process."""
    records = [visit_of(record) for record in visits]
    stages = [_stage_cost(p, records, pace, number) for number, p in enumerate(parts)]
    return stages, mean_values(records)


def chain_of(
    part: StageSetup,
    visits: Sequence[MeasurementRecord],
    pace: CommonPace,
    position: int,
    count: int,
) -> StageSegments:
    """A stage as it was measured in `count` segments, the first of them at a `position`."""
    variant = part.built.variant
    records = [visit_of(record) for record in visits]
    size_mb = part.cut.size_mb if part.cut else variant.size_bytes / 2**20
    factors = pace.factors(records)
    segments = tuple(
        StageCost.from_visits(
            variant.input, part.options, size_mb, records, factors, position + number
        )
        for number in range(count)
    )
    return StageSegments(segments, mean_values(records), size_mb)


def overheads_of(visits: Sequence[MeasurementRecord], pace: CommonPace) -> FrameOverheads:
    """What thumbnails and learning cost a frame, where they were measured."""
    parts: dict[str, list[NDArray[np.float64]]] = {"thumbnail_ms": [], "learn_ms": []}
    factors = pace.factors(map(visit_of, visits))
    for record, factor in zip(visits, factors, strict=True):
        for name, found in parts.items():
            found.append(np.asarray(record.samples.get(name, ())) * factor)
    return FrameOverheads(*(np.concatenate(found) for found in parts.values()))


def visit_of(record: MeasurementRecord) -> Visit:
    """A stored measurement as the search knows it."""
    return Visit(record.values, record.samples, record.warnings)


def _stage_cost(
    found: Measured, visits: Sequence[Visit], pace: CommonPace, position: int = 0
) -> StageCost:
    variant = found.built.variant
    size_mb = variant.size_bytes / 2**20
    options = found.candidate.options
    factors = pace.factors(visits)
    return StageCost.from_visits(variant.input, options, size_mb, visits, factors, position)
