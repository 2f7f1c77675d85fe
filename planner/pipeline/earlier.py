"""Jobs that were decided before plans were verified in turns: their choice stays as it was."""

from __future__ import annotations

from typing import Any

from trimtab.db import VerificationRecord
from trimtab.planner.bundles.turn_taking import PAIRED
from trimtab.planner.jobs.summary import JobSummary
from trimtab.planner.pipeline.flow import PlanDecision
from trimtab.planner.selection.data import SelectionData


def decided_without_turns(
    decision: PlanDecision[Any], known: JobSummary, data: SelectionData
) -> bool:
    """Whether the job, of which `known` was its summary, has chosen among the same candidates for
    the same objectives already, and verified its plans one after the other; which is noted."""
    if not known.get("chosen") or known.get("candidates") != len(data.measured):
        return False
    if list(known.get("objectives", ())) != [each.metric for each in data.objectives]:
        return False
    known_of = decision.store.list_verifications(decision.job_id)
    verified = [found for found in known_of if found.state == "ok"]
    if not verified or any(map(_waited_for_turns, verified)):
        return False
    text = "the choice of an earlier version, which verified plans one by one, stays"
    decision.journal.note("info", "plans", text)
    return True


def _waited_for_turns(found: VerificationRecord) -> bool:
    """Whether it took turns, or was to take them; on any of several devices."""
    each = [told["details"] for told in found.details.get("devices", {}).values()]
    return any(PAIRED in details for details in [found.details, *each])
