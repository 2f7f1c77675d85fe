"""A candidate with its measurements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.db import CandidateRecord, MeasurementRecord
from trimtab.planner.cache.variants import StoredVariant
from trimtab.search.candidates.candidate import Candidate
from trimtab.search.candidates.study import Proposal
from trimtab_runtime.codec import encode
from trimtab_runtime.errors import PlanningError


@dataclass(frozen=True)
class Measured:
    """A candidate with all that is known of it. `outputs` (images, classes) cover the inputs."""

    candidate: Candidate
    built: StoredVariant
    measurement: MeasurementRecord
    outputs: NDArray[np.float32]


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


class NothingToSlim(PlanningError):
    """A member has no (further) slimmed variant; the message says why."""
