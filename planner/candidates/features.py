"""Features for the predictors, from this job's candidates and earlier jobs on this device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from trimtab.db import MeasurementRecord, VariantRecord
from trimtab.planner.cache.keys import RESIZED
from trimtab.planner.candidates.measured import Measured
from trimtab.planner.candidates.members import Member
from trimtab.planner.candidates.stages import visit_of
from trimtab.planner.jobs.context import JobContext
from trimtab.profilers.device import device_key
from trimtab.search.candidates.acquisition import predictor_for
from trimtab.search.candidates.candidate import ORIGINAL, Candidate, VariantForm
from trimtab.search.candidates.study import CandidateStudy
from trimtab.search.costs.cascade import CascadeCosts
from trimtab.search.costs.stage import StageCost
from trimtab.search.predictors.base import Doubles
from trimtab.search.predictors.description import Description, Work, pixel_step
from trimtab.search.predictors.errors import error_of, left_out_errors, summed_errors
from trimtab.variants import SCHEMES, size_text, work_in_subprocess
from trimtab_runtime.codec import decode
from trimtab_runtime.definitions.plan import InputFormat, RuntimeOptions
from trimtab_runtime.errors import ModelError, StoreError

Earlier = list[tuple[Description, Mapping[str, float]]]

#: Measurements of earlier jobs that are learned from, the latest.
_EARLIER = 100


class CandidateFeatures:
    """Describes a job's candidates by the operators of the nearest float file that was built."""

    def __init__(
        self, job: JobContext, members: Sequence[Member], space: Sequence[Candidate]
    ) -> None:
        self._job = job
        self._members = {member.name: member.built for member in members}
        self._space = {candidate.key: candidate for candidate in space}
        self._work: dict[tuple[str, VariantForm], Work] = {}
        self._by_file: dict[Path, Work] = {}
        for name, built in self._members.items():
            size = built.variant.input.size
            self._work[name, ORIGINAL] = self._read(built.path, built.variant.format, size, name)

    def _read(self, path: Path, format: str, size: tuple[int, int], name: str) -> Work:
        if path not in self._by_file:
            try:
                limit_s = self._job.spec.budget.stall_seconds
                work = work_in_subprocess(path, format, size, limit_s, name)
                self._by_file[path] = Work(work)
            except ModelError as error:
                text = f"its cost is predicted without operator counts: {error}"
                self._job.journal.note("info", name, text)
                self._by_file[path] = Work()
        return self._by_file[path]

    def learn(self, found: Measured) -> None:
        """A candidate was built: those made of the same slimmed file are known better."""
        form = found.candidate.form.unquantised
        member, variant = found.candidate.member, found.built.variant
        if (member, form) not in self._work:
            work = self._read(found.built.path, variant.format, variant.input.size, variant.name)
            self._work[member, form] = work.in_floats()

    def of(self, key: str) -> Description:
        """What is known now of the candidate with a key."""
        candidate = self._space[key]
        name, form = candidate.member, candidate.form
        own = self._members[name].variant.input.size
        size = (form.size[0], form.size[1]) if form.size else own
        described = {f"{size_text(size)}px": pixel_step(size, own)} if form.size else {}
        unsized = replace(form.unquantised, size=())
        work, unseen = self._work.get((name, form.unquantised)), tuple[str, ...]()
        if work is None:
            known = self._work.get((name, unsized))
            work = known or self._work[name, ORIGINAL]
            unseen = unsized.steps if known is None else ()
            work = work.at(size[0] * size[1] / (own[0] * own[1])) if form.size else work
        return Description(
            member=self._members[name].key,
            steps=tuple(described.get(step, step) for step in form.steps),
            options=candidate.options,
            work=work,
            pixels=size[0] * size[1],
            unseen=unseen,
        )

    def earlier(self, metrics: Sequence[str]) -> Earlier:
        """What earlier jobs measured on this device alone, with the costs among `metrics`. (What
        this job measured itself in an earlier run of it is known to its study.)"""
        store, began = self._job.store, self._job.record.started_at
        before = [
            record
            for record in store.list_measurements(
                device_key=device_key(self._job.fingerprint), state="ok"
            )
            if record.created_at < began and record.settings.get("kind") == "measure"
        ]
        found: Earlier = []
        for record in before[-_EARLIER:]:
            variant = store.get_variant(record.variant_key)
            about = variant and self._recorded(record, variant)
            if variant and about:
                known = _costs(record, variant)
                found.append((about, {name: known[name] for name in metrics if name in known}))
        return found

    def _recorded(self, record: MeasurementRecord, variant: VariantRecord) -> Description | None:
        """What an earlier job measured; None where the lineage or a file is lost."""
        steps: list[str] = []
        nearest: VariantRecord | None = None
        while (step := variant.recipe.get("step")) != "member":
            parent = self._job.store.get_variant(variant.recipe.get("parent", ""))
            if step not in SCHEMES:
                nearest = nearest or variant
            if parent is None:
                return None
            if step == RESIZED:
                sizes = [decode(InputFormat, v.io["input"]).size for v in (variant, parent)]
                step = pixel_step(*sizes)
            steps.append(str(step))
            variant = parent
        nearest = nearest or variant
        fmt = decode(InputFormat, nearest.io["input"])
        try:
            path = self._job.store.artefacts.path(nearest.artefact_sha256 or "")
        except StoreError:
            return None
        return Description(
            member=variant.key,
            steps=tuple(reversed(steps)),
            options=decode(RuntimeOptions, record.options),
            work=self._read(path, nearest.format, fmt.size, nearest.name),
            pixels=fmt.size[0] * fmt.size[1],
        )


def _costs(record: MeasurementRecord, variant: VariantRecord) -> dict[str, float]:
    """What it costs as a plan of its own, by metric."""
    fmt, options = decode(InputFormat, variant.io["input"]), decode(RuntimeOptions, record.options)
    visit, size_mb = visit_of(record), (variant.size_bytes or 0) / 2**20
    cost = StageCost.from_visits(fmt, options, size_mb, [visit], [1.0])
    return CascadeCosts([cost]).known(np.ones(1))


def told_errors(
    study: CandidateStudy, describing: CandidateFeatures, metrics: Sequence[str]
) -> dict[str, dict[str, Mapping[str, float]]]:
    """How far predictions were off, by metric: `ahead` of each measurement of the job, and with
    each member `left_out`."""
    values = study.values
    keys = sorted(values)
    about = [describing.of(key) for key in keys]
    forecasts = study.forecasts
    found = {}
    for number, metric in enumerate(metrics):
        measured: Doubles = np.array([values[key][number] for key in keys])
        pairs = np.array([(f[number], m[number]) for f, m in forecasts]).reshape(-1, 2)
        ahead = error_of(metric, pairs[:, 0], pairs[:, 1])
        left_out = left_out_errors(predictor_for(metric), about, measured)
        errors = {"ahead": ahead, "left_out": left_out}
        found[metric] = {k: summed_errors(metric, e) for k, e in errors.items() if len(e)}
    return {metric: errors for metric, errors in found.items() if errors}
