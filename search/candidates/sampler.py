"""The advisor behind Optuna's interface of a sampler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial


class CandidateSampler(optuna.samplers.BaseSampler):
    """Behind Optuna's interface: samples what `propose` tells, the parameters of one candidate a
    trial, and as the sampler `otherwise` where it tells none."""

    def __init__(
        self,
        propose: Callable[[], Mapping[str, Any] | None],
        otherwise: optuna.samplers.BaseSampler,
    ) -> None:
        self._propose, self._otherwise = propose, otherwise
        self._proposed: Mapping[str, Any] | None = None

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        enqueued = "fixed_params" in trial.system_attrs
        self._proposed = None if enqueued else self._propose()
        self._otherwise.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        if self._proposed is not None:
            return {}
        return self._otherwise.infer_relative_search_space(study, trial)

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        return self._otherwise.sample_relative(study, trial, search_space) if search_space else {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        if self._proposed is not None:
            return self._proposed[param_name]
        return self._otherwise.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: optuna.trial.TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self._otherwise.after_trial(study, trial, state, values)
