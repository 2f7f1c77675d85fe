"""Building, measuring and tracing candidates until the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from db import CandidateRecord, MeasurementRecord
from planner.built import Built
from planner.members import Member
from planner.slim_blocks import NothingToSlim
from planner.slimming import VARIANTS
from planner.spec import JobSpec
from planner.spec_parts import BudgetSpec
from profilers import DeviceLost
from search.outer import Candidate, OuterStudy, Proposal
from trimtab_runtime.codec import encode
from trimtab_runtime.definition import RuntimeOptions
from trimtab_runtime.errors import StoreError, TrimtabError


@dataclass(frozen=True)
class Measured:
    """A candidate with all that is known of it. `outputs` (images, classes) cover the inputs."""

    candidate: Candidate
    built: Built
    measurement: MeasurementRecord
    outputs: NDArray[np.float32]


#: Execution providers that compute on the processor's cores.
_ON_THE_CPU = frozenset(
    f"{name}ExecutionProvider" for name in ("ACL", "Dnnl", "OpenVINO", "Xnnpack")
)


@dataclass(frozen=True)
class Space:
    """Every candidate: first the `baselines` (members as they came, on each number of threads,
    with and without spinning; the reference member first), up to `enqueued` those that are most
    often worth a try (each member's other precisions, on the fewest threads), then all the rest,
    which is the search's to choose from."""

    candidates: list[Candidate]
    baselines: int
    enqueued: int


def candidate_space(
    spec: JobSpec, members: Sequence[Member], cores: int, accelerators: Sequence[str] = ()
) -> Space:
    """The candidates that a specification allows on a device with `cores` and the execution
    providers `accelerators`."""
    counts = spec.runtime.threads or tuple(sorted({1, cores}))
    forms = [f"slim{n + 1}" for n in range(VARIANTS if spec.techniques.slimming else 0)]
    found = []
    for member in members:
        quantised = spec.techniques.quantisation if member.quantisable else ()
        precisions = ["as_is", *quantised]
        for form in forms:
            precisions += [form, *(f"{form} {precision}" for precision in quantised)]
        for precision in precisions:
            found += [
                Candidate(member.name, precision, options)
                for options in _options(member.built.variant.format, counts, accelerators)
            ]

    def wave(candidate: Candidate) -> int:
        return wave_of(candidate, spec.techniques.quantisation, min(counts))

    found.sort(key=lambda c: (wave(c), c.member != spec.reference_name))
    waves = [wave(candidate) for candidate in found]
    return Space(found, waves.count(0), waves.count(0) + waves.count(1))


def wave_of(candidate: Candidate, quantisation: Sequence[str], threads: int) -> int:
    """When a candidate's turn comes: 0 for members as they came (the baselines), 1 for them on
    other execution providers, and on the fewest `threads` for their quantised variants and the
    best slimmed one, 2 for what the search proposes."""
    options = candidate.options
    if options.graph_optimisation != "all" or options.provider == "builtin":
        return 2
    if candidate.precision == "as_is":
        return 0 if options.provider == "default" else 1
    early = {form for q in ("", *quantisation) for form in (q, f"slim1 {q}".strip())}
    usual = options.threads == threads and not options.spinning
    return 1 if candidate.precision in early and usual else 2


def _options(
    model_format: str, counts: Sequence[int], accelerators: Sequence[str]
) -> list[RuntimeOptions]:
    if model_format == "tflite":
        return [
            RuntimeOptions("litert", provider, threads)
            for provider in ("default", "builtin")
            for threads in counts
        ]
    return [
        RuntimeOptions("onnxruntime", "default", threads, spinning, level)
        for level in ("all", "extended")
        for threads in counts
        for spinning in ((False, True) if threads > 1 else (False,))
    ] + [
        RuntimeOptions("onnxruntime", provider, threads)
        for provider in accelerators
        for threads in (counts if provider in _ON_THE_CPU else counts[:1])
    ]


class Budget:
    """Minutes and measurements of the outer search; a job that goes on has spent some."""

    def __init__(self, spec: BudgetSpec, spent_s: float, measured: int) -> None:
        self._spec, self._measured = spec, measured
        self._began = time.monotonic() - spent_s

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self._began

    def count(self) -> None:
        self._measured += 1

    @property
    def share(self) -> float:
        """What is spent, from 0 to 1."""
        shares = [0.0]
        if self._spec.minutes is not None:
            shares.append(self.spent_s / (60 * self._spec.minutes))
        if self._spec.measurements is not None:
            shares.append(self._measured / self._spec.measurements)
        return min(1.0, max(shares))


Evaluate = Callable[[Candidate], Measured]
Values = Callable[[Measured], Sequence[float]]


def measure_candidates(
    study: OuterStudy,
    budget: Budget,
    evaluate: Evaluate,
    values: Values,
    record: Callable[[Proposal, Measured | None, str | None], None],
) -> list[Measured]:
    """Measure what the study proposes until the budget is spent or nothing is left.

    What the study knows already comes from the store. The baselines are measured in any case. A
    candidate that fails is recorded with its reason, and the study goes on.
    """
    found = [evaluate(candidate) for candidate in study.measured]
    while not study.baselines_done or budget.share < 1:
        proposal = study.next()
        if proposal is None:
            break
        try:
            measured = evaluate(proposal.candidate)
            told = values(measured)
        except (StoreError, DeviceLost):
            raise
        except NothingToSlim as reason:  # no failure: there is no such candidate
            study.report(proposal, None, str(reason))
            continue
        except TrimtabError as error:
            record(proposal, None, str(error))
            study.report(proposal, None, str(error))
            continue
        record(proposal, measured, None)  # first: what the study knows is not recorded again
        study.report(proposal, told)
        budget.count()
        found.append(measured)
    return found


def candidate_record(
    job_id: str, proposal: Proposal, built_key: str, baseline: bool, reason: str | None
) -> CandidateRecord:
    """The store's record of a measured or failed candidate."""
    return CandidateRecord(
        job_id=job_id,
        key=proposal.candidate.key,
        variant_key=built_key,
        options={"label": proposal.candidate.label, **encode(proposal.candidate.options)},
        role="baseline" if baseline else "candidate",
        trial_number=proposal.trial.number,
        state="failed" if reason else "measured",
        reason=reason,
    )
