"""Which candidates to build and measure next: an Optuna study, stored and resumable.

A candidate is a member in a form with runtime options. The original members are
measured first (they are the baselines), then what is most often worth a try. After that an advisor
proposes what is predicted to improve the front most (`trimtab.search.candidates.acquisition`),
behind Optuna's interface of a sampler; where there is none, or it knows too little, TPE proposes,
and what it proposes twice is answered from memory. The study ends when the space is exhausted;
the caller ends it earlier when the budget is spent.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optuna
from optuna.trial import Trial, TrialState
from sqlalchemy.pool import NullPool

from trimtab.search.candidates.acquisition import Advisor
from trimtab.search.candidates.candidate import Candidate, options_label
from trimtab.search.candidates.sampler import CandidateSampler

Direction = Literal["maximize", "minimize"]
_REPEATS = 8  # proposals of known candidates before an unknown one is drawn at random
_CANDIDATE, _PREDICTED = "candidate", "predicted"
#: Two threads that first open one database would race on making Optuna's tables.
_OPENING = threading.Lock()


@dataclass(frozen=True)
class Proposal:
    """A candidate to be measured, with the trial that will be told."""

    candidate: Candidate
    trial: Trial


class CandidateStudy:
    """Proposes candidates of a finite space.

    `space` lists every candidate: first `baselines` of them that must be measured, then up to
    position `enqueued` those to be tried before the sampler proposes. `directions` are
    'maximize' or 'minimize', one an objective. With a `storage` (a SQLAlchemy URL) a study of
    the same `name` goes on where it stopped: what was cut off or failed is tried again. An
    `advisor` (of the same objectives) knows candidates by their keys.
    """

    def __init__(
        self,
        name: str,
        space: Sequence[Candidate],
        baselines: int,
        enqueued: int,
        directions: Sequence[Direction],
        storage: str | None = None,
        seed: int = 0,
        advisor: Advisor | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = {candidate.key: candidate for candidate in space}
        self._enqueued_first = [candidate.key for candidate in space[:enqueued]]
        self._baselines = self._enqueued_first[:baselines]
        with _OPENING:
            # A study is never closed: on PostgreSQL its pool would leave connections open.
            pool = {"poolclass": NullPool}
            backend = (
                None
                if storage is None
                else optuna.storages.RDBStorage(storage, engine_kwargs=pool)
            )
            self._study = _opened(name, directions, backend)
        self._known: dict[str, list[float] | None] = {}
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state == TrialState.RUNNING:
                self._study.tell(trial.number, state=TrialState.FAIL)
            elif trial.state == TrialState.WAITING:  # cut off between enqueueing and asking
                self._study.tell(self._study.ask(), state=TrialState.FAIL)
            elif trial.state == TrialState.COMPLETE:
                self._known[trial.user_attrs[_CANDIDATE]] = trial.values
        trials = len(self._study.get_trials(deepcopy=False))
        tpe = optuna.samplers.TPESampler(seed=seed + trials, n_startup_trials=8)
        self._study.sampler = CandidateSampler(self._advised, tpe)
        self._advisor = advisor
        self._predicted: dict[str, list[float]] = {}  # of the candidate advised last
        self._generator = np.random.default_rng(seed + trials)

    @property
    def remaining(self) -> int:
        """Candidates that were not measured yet."""
        return len(self._space.keys() - self._known.keys())

    @property
    def measured(self) -> list[Candidate]:
        """Candidates that were measured, in an earlier run or this one."""
        known = [key for key, values in self._known.items() if values is not None]
        return [self._space[key] for key in known if key in self._space]

    @property
    def baselines_done(self) -> bool:
        return all(key in self._known for key in self._baselines)

    @property
    def forecasts(self) -> list[tuple[list[float], list[float]]]:
        """What was predicted for candidates before they were measured, and what was measured; one
        value an objective, in the order of measuring."""
        return [
            (trial.user_attrs[_PREDICTED], trial.values)
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if _PREDICTED in trial.user_attrs and trial.user_attrs[_CANDIDATE] in self._space
        ]

    def next(self) -> Proposal | None:
        """The next candidate to measure; None when all are known."""
        self._predicted = {}
        proposal = self._next()
        values = self.values
        if proposal and self._advisor and self._advisor.ready(values):
            key = proposal.candidate.key
            if key not in self._predicted:
                found = self._advisor.predict(values, [key])
                self._predicted[key] = [float(one.median[0]) for one in found]
            proposal.trial.set_user_attr(_PREDICTED, self._predicted[key])
        return proposal

    @property
    def values(self) -> dict[str, list[float]]:
        """What was measured (one value an objective), by the candidate's key."""
        return {
            key: values
            for key, values in self._known.items()
            if values is not None and key in self._space
        }

    def _advised(self) -> dict[str, Any] | None:
        """The parameters of what the advisor proposes; None without advice."""
        values = self.values
        if self._advisor is None or not self.remaining or not self._advisor.ready(values):
            return None
        unknown = [key for key in self._space if key not in self._known]
        chosen, predicted = self._advisor.choose(values, unknown, self._baselines)
        self._predicted = {chosen: predicted}
        return self._parameters(self._space[chosen])

    def _next(self) -> Proposal | None:
        waiting = [key for key in self._enqueued_first if key not in self._known]
        if waiting:
            return self._enqueued(waiting[0])
        for _ in range(_REPEATS):
            if not self.remaining:
                return None
            trial = self._study.ask()
            candidate = self._suggest(trial)
            if candidate.key not in self._known:
                return Proposal(candidate, trial)
            self._tell(trial, self._known[candidate.key])
        unknown = sorted(self._space.keys() - self._known.keys())
        return self._enqueued(unknown[int(self._generator.integers(len(unknown)))])

    def report(
        self, proposal: Proposal, values: Sequence[float] | None, reason: str | None = None
    ) -> None:
        """Tell what was measured (one value an objective), or None and why nothing was."""
        if values is None:
            proposal.trial.set_user_attr("reason", reason or "failed")
        self._known[proposal.candidate.key] = None if values is None else list(values)
        self._tell(proposal.trial, values)

    def _tell(self, trial: Trial, values: Sequence[float] | None) -> None:
        if values is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, list(values))

    def _enqueued(self, key: str) -> Proposal:
        candidate = self._space[key]
        self._study.enqueue_trial(self._parameters(candidate))
        trial = self._study.ask()
        if self._suggest(trial) != candidate:
            raise AssertionError(f"Optuna did not return the enqueued {candidate.label}")
        return Proposal(candidate, trial)

    def _suggest(self, trial: Trial) -> Candidate:
        """Choose member, then precision, then options, each among those that exist."""
        chosen = list(self._space.values())
        for name in ("member", "precision", "options"):
            values = sorted({_parts(candidate)[name] for candidate in chosen})
            path = "/".join([name, *_path(chosen[0], name)])
            value = trial.suggest_categorical(path, values)
            chosen = [candidate for candidate in chosen if _parts(candidate)[name] == value]
        trial.set_user_attr(_CANDIDATE, chosen[0].key)
        return chosen[0]

    def _parameters(self, candidate: Candidate) -> dict[str, Any]:
        parts = _parts(candidate)
        return {"/".join([name, *_path(candidate, name)]): parts[name] for name in parts}


def _opened(
    name: str, directions: Sequence[Direction], backend: optuna.storages.RDBStorage | None
) -> optuna.Study:
    """The study of that name, made where there is none.

    Not by `load_if_exists`, which relies on a unique index: where Optuna was killed while it made
    its tables in SQLite, it never makes that index.
    """
    if backend is not None and name in optuna.get_all_study_names(backend):
        return optuna.load_study(study_name=name, storage=backend)
    return optuna.create_study(storage=backend, study_name=name, directions=list(directions))


def _parts(candidate: Candidate) -> dict[str, str]:
    options = candidate.options
    return {
        "member": candidate.member,
        "precision": candidate.form.text,
        "options": f"{options.engine} {options_label(options)}",
    }


def _path(candidate: Candidate, name: str) -> list[str]:
    """What a parameter depends on: an engine's options are shared by its members."""
    if name == "member":
        return []
    return [candidate.member] if name == "precision" else [candidate.options.engine]
