"""The data of selection: measured candidates as stage options, and the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from trimtab.planner.candidates.measured import Measured
from trimtab.planner.candidates.stages import (
    common_pace,
    metric_names,
    one_per_variant,
    reference_answers,
    reference_ms,
    stage_options,
)
from trimtab.planner.jobs.dataset import SplitRows
from trimtab.planner.specification.job import JobSpec
from trimtab.search.costs.correction import Correction
from trimtab.search.costs.pace import CommonPace
from trimtab.search.costs.segmented import StageSegments
from trimtab.search.estimates.guard import consensus
from trimtab.search.estimates.metrics import can_tell, quality_metric
from trimtab.search.estimates.targets import Ints, Targets
from trimtab.search.objectives.constraints import Constraint
from trimtab.search.objectives.objective import Objective
from trimtab.search.plans.option import StageOption
from trimtab_runtime.errors import PlanningError
from trimtab_runtime.metrics import find_metric


@dataclass(frozen=True)
class SelectionData:
    """`options` are the `measured` candidates, one by one, as stages of plans; `targets` by split.

    `taught_by` (inputs,) are the labels or, without them, the answers of the reference member.
    `reference_ms` and `pace` are how fast the device was.
    `members` are options: one per original model, the fastest way to run it; `baseline` is the
    one of them to compare with. `quality` names the metrics asked for, the deciding one first.
    """

    spec: JobSpec
    measured: Sequence[Measured]
    rows: SplitRows
    options: Sequence[StageOption]
    targets: Mapping[str, Targets]
    taught_by: Ints
    correction: Correction
    reference_ms: float
    objectives: Sequence[Objective]
    constraints: Sequence[Constraint]
    quality: Sequence[str]
    members: Sequence[int]
    baseline: int
    pace: CommonPace = field(default_factory=CommonPace)

    @classmethod
    def of(
        cls,
        spec: JobSpec,
        measured: Sequence[Measured],
        rows: SplitRows,
        correction: Correction | None = None,
        agreed: Sequence[StageOption] = (),
    ) -> SelectionData:
        """Calibrate what was measured. `correction` is what earlier jobs learned on this device;
        options are calibrated as those `agreed` on another device, where there are any. Raises
        PlanningError."""
        pace = common_pace(measured)
        reference = reference_answers(measured, spec.reference_name)
        taught_by = rows.labels if rows.labels is not None else reference
        assert taught_by is not None
        options = stage_options(measured, rows.fit, taught_by[rows.fit], pace, agreed)
        targets = _targets(options, rows, reference, taught_by)
        names = metric_names(spec.objectives, rows.labels is not None)
        objectives = [Objective(name) for name in names]
        constraints = [Constraint.parse(text) for text in spec.constraints]
        quality = _quality(objectives, constraints, targets["tune"], rows.labels is not None)
        members = _fastest_of_each(measured, options)
        allowed = [
            i for i in members if spec.baseline_name in (None, measured[i].candidate.member)
        ]
        if not allowed:
            raise PlanningError(f"the baseline {spec.baseline_name} could not be measured")
        best = min(
            allowed,
            key=lambda i: (
                -_capability(options[i], rows, targets["tune"], quality[0]),
                alone_ms(options[i]),
            ),
        )
        return cls(
            spec,
            measured,
            rows,
            options,
            targets,
            taught_by,
            correction or Correction(),
            reference_ms(measured),
            objectives,
            constraints,
            quality,
            members,
            best,
            pace,
        )

    @property
    def named(self) -> list[str]:
        """The metrics that objectives and constraints name."""
        return [o.metric for o in self.objectives] + [c.metric for c in self.constraints]

    def capability(self, index: int) -> float:
        """The quality of an option alone, on tune."""
        return _capability(self.options[index], self.rows, self.targets["tune"], self.quality[0])

    def whole(self, index: int) -> StageSegments:
        """An option that runs whole, as segments are counted."""
        cost = self.options[index].cost
        return StageSegments((cost,), cost.values, cost.size_mb)

    def sharing(self, index: int) -> int:
        """An option or, where its threads spin, the one of its variant that may share a process
        with other sessions."""
        wanted = self.options[index].stage
        if not wanted.options.spinning:
            return index
        others = (i for i, o in enumerate(self.options) if o.stage.variant == wanted.variant)
        return next((i for i in others if not self.options[i].alone), index)

    def label(self, options: Sequence[int]) -> str:
        """The names of options, one behind another."""
        return " → ".join(self.options[index].name for index in options)


def alone_ms(option: StageOption) -> float:
    """The mean latency of an option alone."""
    return float(option.cost.total("hot").mean())


def _capability(option: StageOption, rows: SplitRows, tune: Targets, quality: str) -> float:
    found = quality_metric(quality).values(tune, option.probabilities[rows.tune])
    return float(found.mean())


def _targets(
    options: Sequence[StageOption], rows: SplitRows, reference: Ints | None, taught_by: Ints
) -> dict[str, Targets]:
    labelled = np.concatenate([rows.fit, rows.tune])
    opinion = consensus(one_per_variant(options), labelled, taught_by[labelled])
    return {
        split: Targets(
            None if rows.labels is None else rows.labels[index],
            None if reference is None else reference[index],
            opinion[index],
            rows.classes,
            blocks=None if rows.blocks is None else rows.blocks[index],
        )
        for split, index in (("tune", rows.tune), ("test", rows.test))
    }


def _quality(
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    tune: Targets,
    labelled: bool,
) -> list[str]:
    """The quality metrics that are asked for. Raises PlanningError where one cannot be told."""
    named = [o.metric for o in objectives] + [c.metric for c in constraints]
    asked = dict.fromkeys(name for name in named if find_metric(name).kind == "quality")
    found = list(asked) or ["top1" if labelled else "agreement"]
    unknown = [metric for metric in found if not can_tell(tune, metric)]
    if unknown:
        raise PlanningError(f"{unknown[0]} cannot be estimated on the validation split (tune)")
    return found


def _fastest_of_each(measured: Sequence[Measured], options: Sequence[StageOption]) -> list[int]:
    """One option a member: as it came, with the runtime options that proved fastest."""
    best: dict[str, int] = {}
    for index, found in enumerate(measured):
        if not found.candidate.form.is_original:
            continue
        rival = best.setdefault(found.candidate.member, index)
        if alone_ms(options[index]) < alone_ms(options[rival]):
            best[found.candidate.member] = index
    return list(best.values())
