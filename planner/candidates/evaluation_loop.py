"""Building, measuring and tracing candidates until the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from trimtab.planner.candidates.measured import Measured, NothingToSlim
from trimtab.planner.specification.sections import BudgetSpec
from trimtab.profilers import DeviceLost
from trimtab.search.candidates.candidate import Candidate
from trimtab.search.candidates.study import CandidateStudy, Proposal
from trimtab_runtime.errors import StoreError, TrimtabError


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
    study: CandidateStudy,
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
