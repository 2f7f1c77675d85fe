"""The outer search of a job: candidates are measured and traced until the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from trimtab.planner.cache.ahead import quantise_ahead
from trimtab.planner.cache.variants import StoredVariant
from trimtab.planner.candidates.collapse import Collapsed, check_answers
from trimtab.planner.candidates.evaluator import CandidateEvaluator
from trimtab.planner.candidates.features import CandidateFeatures, told_errors
from trimtab.planner.candidates.measured import Measured, NothingToSlim, candidate_record
from trimtab.planner.candidates.members import Member
from trimtab.planner.candidates.space import candidate_space
from trimtab.planner.candidates.stages import metric_names, reference_answers, single_values
from trimtab.planner.jobs.steps import ENDS_JOB, one_step
from trimtab.planner.specification.sections import BudgetSpec
from trimtab.search.candidates.acquisition import Advisor
from trimtab.search.candidates.candidate import ORIGINAL, Candidate, VariantForm
from trimtab.search.candidates.study import CandidateStudy, Proposal
from trimtab.variants import SCHEMES, NothingToGain
from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import PlanningError, TrimtabError
from trimtab_runtime.metrics import find_metric


class Budget:
    """Minutes and measurements of the outer search; a resumed job has spent some."""

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


class CandidateSearch:
    """Measures what the study of a job proposes until the budget is spent or nothing is left.

    What the study knows already comes from the store. The baselines are measured in any case. A
    candidate that fails is recorded with its reason, and the search goes on.
    """

    def __init__(self, evaluator: CandidateEvaluator, members: Sequence[Member]) -> None:
        job = evaluator.job
        self._evaluator, self._job = evaluator, job
        self._members = {member.name: member.built for member in members}
        space = candidate_space(job.spec, members, job.fingerprint)
        for name in job.spec.techniques.quantisation:
            if not SCHEMES[name].runs_on(job.fingerprint.get("isa", "")):
                needed = ", ".join(sorted(SCHEMES[name].needs))
                text = f"not for this device, which has none of the instructions {needed}"
                job.journal.note("info", name, text)
        self._candidates = space.candidates
        self._baselines = {found.key for found in space.candidates[: space.baselines]}
        self._metrics = metric_names(job.spec.objectives, evaluator.rows.labels is not None)
        self._features = CandidateFeatures(job, members, space.candidates)
        self._study = CandidateStudy(
            f"trimtab/{job.job_id}/{content_key([c.key for c in space.candidates])[:8]}",
            space.candidates,
            space.baselines,
            space.enqueued,
            [_direction(name) for name in self._metrics],
            storage=job.store.url,
            seed=job.spec.workload.splits.seed,
            advisor=Advisor(
                self._metrics, self._features.of, self._features.earlier(self._metrics)
            ),
        )
        spent = job.summary.get("measuring_s", 0.0)
        self._budget = Budget(job.spec.budget, spent, len(self._study.measured))
        self._seen: list[Measured] = []
        self._collapsed: dict[tuple[str, VariantForm], str] = {}

    def measure(self) -> list[Measured]:
        """All that is measured, in this run or before. Raises PlanningError where no member can
        be, StoreError, or DeviceLost."""
        study, budget = self._study, self._budget
        if self._job.executor.place is not None:
            variants, wanted = self._evaluator.variants, self._quantised()
            quantise_ahead(variants, wanted, self._job.executor, lambda: budget.share >= 1)
        found = [self._evaluated(candidate) for candidate in study.measured]
        while not study.baselines_done or budget.share < 1:
            proposal = study.next()
            if proposal is None:
                break
            measured = self._tried(proposal)
            if measured is not None:
                found.append(measured)
        if not any(one.candidate.form.is_original for one in found):
            raise PlanningError("no original model could be measured; see the log for the reasons")
        self._job.remember(predictors=told_errors(study, self._features, self._metrics))
        return found

    def _quantised(self) -> list[tuple[StoredVariant, str]]:
        """Members and the schemes by which candidates quantise them as they are."""
        wanted = {
            (candidate.member, candidate.form.scheme): None
            for candidate in self._candidates
            if candidate.form != ORIGINAL and not candidate.form.unquantised.steps
        }
        return [(self._members[member], scheme) for member, scheme in wanted]

    def _tried(self, proposal: Proposal) -> Measured | None:
        """What the study proposes, measured and told; None where that failed."""
        try:
            with one_step():
                self._check_form(proposal.candidate)
                measured = self._evaluated(proposal.candidate)
                self._check_answers(measured)
                values = self._values(measured)
        except ENDS_JOB:
            raise
        except (NothingToSlim, NothingToGain) as reason:  # no failure: there is no such candidate
            self._study.report(proposal, None, str(reason))
            return None
        except TrimtabError as error:
            self._record(proposal, None, str(error))
            self._study.report(proposal, None, str(error))
            return None
        self._record(proposal, measured, None)  # first: what the study knows is not recorded again
        self._study.report(proposal, values)
        self._budget.count()
        return measured

    def _check_form(self, candidate: Candidate) -> None:
        """Raise what is known of a form already, whatever the options."""
        known = self._collapsed.get((candidate.member, candidate.form))
        if known:
            raise PlanningError(f"not tried: {known}")

    def _check_answers(self, found: Measured) -> None:
        """Raise Collapsed for a variant in another precision or size without its parent's
        answers."""
        candidate = found.candidate
        if not candidate.form.scheme and not candidate.form.size:
            return
        forms = {
            seen.candidate.form: seen
            for seen in self._seen
            if seen.candidate.member == candidate.member
        }
        # Where that was not measured yet, the original is what it must answer as.
        parent = forms.get(candidate.form.parent) or forms[ORIGINAL]
        evaluator = self._evaluator
        try:
            check_answers(found, parent, evaluator.rows.fit, evaluator.variants)
        except Collapsed:
            self._collapsed[candidate.member, candidate.form] = (
                f"{candidate.form.text} of it collapsed with other options"
            )
            self._seen.remove(found)
            raise

    def _evaluated(self, candidate: Candidate) -> Measured:
        share = self._budget.share
        if not self._study.baselines_done:
            share = min(share, 0.99)
        self._job.journal.step("measure", candidate.label, share, 1.0)
        usable = {found.candidate.member for found in self._seen}
        if candidate.key not in self._baselines and candidate.member not in usable:
            raise PlanningError(
                f"not tried: the original {candidate.member} could not be measured"
            )
        found = self._evaluator.evaluate(candidate, self._members[candidate.member])
        self._seen.append(found)
        self._features.learn(found)
        return found

    def _values(self, found: Measured) -> list[float]:
        reference = reference_answers(self._seen, self._job.spec.reference_name)
        return single_values(found, self._evaluator.rows, reference, self._metrics)

    def _record(self, proposal: Proposal, found: Measured | None, reason: str | None) -> None:
        candidate, job = proposal.candidate, self._job
        built = found.built if found else self._members[candidate.member]
        baseline = candidate.key in self._baselines
        job.store.put_candidates(
            [candidate_record(job.job_id, proposal, built.key, baseline, reason)]
        )
        if reason:
            job.journal.note("error", candidate.label, reason)
        job.remember(measuring_s=self._budget.spent_s)


def _direction(metric: str) -> Literal["maximize", "minimize"]:
    return "maximize" if find_metric(metric).maximise else "minimize"
