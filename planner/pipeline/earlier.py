"""Jobs that were decided before plans were verified in turns: their choice stays as it was."""

from __future__ import annotations

from trimtab.planner.bundles.turn_taking import PAIRED
from trimtab.planner.jobs.context import JobContext
from trimtab.planner.jobs.summary import JobSummary
from trimtab.planner.selection.data import SelectionData


def decided_without_turns(job: JobContext, known: JobSummary, data: SelectionData) -> bool:
    """Whether the job, of which `known` was its summary, has chosen among the same candidates for
    the same objectives already, and verified its plans one after the other."""
    if not known.get("chosen") or known.get("candidates") != len(data.measured):
        return False
    if list(known.get("objectives", ())) != [each.metric for each in data.objectives]:
        return False
    verified = job.store.list_verifications(job.job_id)
    return bool(verified) and not any(PAIRED in found.details for found in verified)
