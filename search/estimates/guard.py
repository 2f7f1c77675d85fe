"""Choosing without being fooled by luck.

Among thousands of plans, the best on a finite sample is partly the luckiest: on the ImageNet zoo
the fastest plan that is 'not worse' on 500 images loses 1 to 1.5 points on others (the winner's
curse; Cawley & Talbot, JMLR 2010). So labels do not rank plans here; a jury does.

1. *Jury*: the variants whose accuracy on the labelled images is not significantly below that of
   the best (paired test at 5 %; a one-pass model confidence set, Hansen, Lunde & Nason,
   Econometrica 2011). Its opinion is the mean of their calibrated probabilities, as of deep
   ensembles (Lakshminarayanan et al., NeurIPS 2017), each weighted by the information that it
   has beyond the frequencies of the classes: a network that always answers the commonest class is
   often right, and says nothing.
2. *Credit*: a plan is credited on an input with the probability that the jury gives its answer,
   not with 0 or 1. Its difference to the baseline is zero wherever both answer alike, and
   elsewhere has a fraction of the variance of the labelled difference (a model-assisted estimate;
   Särndal, Swensson & Wretman, 1992).
3. *Guard*: one standard error of that paired difference is taken off.
4. *Veto*: labels must not contradict. The guarded figure is never above the labelled difference
   plus 1.96 standard errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trimtab.search.estimates.cluster_bootstrap import block_error
from trimtab.search.estimates.metric_bases import LinearisedMetric
from trimtab.search.estimates.metrics import quality_metric
from trimtab.search.estimates.targets import Floats, Ints, Targets

Doubles = NDArray[np.float64]

#: Standard errors of the credited difference that are taken off.
CAUTION = 1.0
#: The same of plans that stop early, which labels judge: the fastest of hundreds stands where
#: accuracy begins to fall steeply (one-sided 95 %). Less where answers are only used again: what a
#: network said of a frame that looks alike is on average as good, though whole stays that go one
#: way or the other make errors large; what must be certain there needs a margin in a constraint.
EARLY_CAUTION, REUSE_CAUTION = 1.64, 0.5
#: Standard errors by which labels may fall short of the credited figure.
VETO = 1.96
#: A variant is heard if it knows this share of what the frequencies of classes leave unknown.
LEAST_SAID = 0.01
#: The probability that is taken for a class that a variant ruled out.
_RULED_OUT = 1e-6


def jury(probabilities: Sequence[Floats], labelled: Ints, targets: Ints) -> Floats:
    """The jury's opinion (inputs, classes) on every input.

    `probabilities` one (inputs, classes) a variant, calibrated; `targets` are the classes of the
    rows `labelled`.
    """
    said = np.array([_information(p[labelled], targets) for p in probabilities])
    if not said.any():  # nobody says anything: then all are heard
        said[:] = 1.0
    correct = np.stack([p[labelled].argmax(1) == targets for p in probabilities]).astype(float)
    best = int(np.where(said > 0, correct.mean(1), -1.0).argmax())
    lost = correct[best] - correct
    errors = lost.std(1) / np.sqrt(len(labelled))
    weights = np.where(lost.mean(1) > 1.96 * errors, 0.0, said)
    opinion: Floats = np.average(probabilities, axis=0, weights=weights).astype(np.float32)
    return opinion


def _information(probabilities: Floats, targets: Ints) -> float:
    """How many nats an input `probabilities` (n, classes) say of `targets` (n,) beyond the
    frequencies of the classes; 0 where that is less than LEAST_SAID of what there is to say."""
    rows = np.arange(len(targets))
    own = np.maximum(probabilities[rows, targets].astype(np.float64), _RULED_OUT)
    share = np.bincount(targets, minlength=probabilities.shape[1]) / len(targets)
    unknown = -float(np.log(share[targets]).mean())
    said = unknown + float(np.log(own).mean())
    return said if said > LEAST_SAID * unknown else 0.0


@dataclass(frozen=True)
class Estimates:
    """Quality on `tune` of some plans, (plans,) each: as replayed, and guarded."""

    replayed: Doubles
    guarded: Doubles


class Guard:
    """Estimates quality on the inputs of `targets`, compared with a baseline that decides on the
    probabilities `baseline` (n, classes). `repeats` is by how much the variance of a mean grows
    because inputs depend on each other (cluster_bootstrap.py, `design_effect`), `objects` (n,)
    says which inputs show the same one."""

    def __init__(
        self,
        targets: Targets,
        baseline: Floats,
        repeats: float = 1.0,
        objects: Ints | None = None,
    ) -> None:
        if not repeats >= 1.0:
            raise ValueError(f"repeats >= 1 must hold, but got repeats={repeats}")
        self.targets = replace(targets, around=baseline.argmax(1))
        self._baseline, self._count = baseline, len(baseline)
        self._objects = objects
        self._stretch = float(np.sqrt(repeats))
        self._known: dict[str, tuple[Floats, Floats]] = {}

    def moments(self, metric: str, decided: Floats) -> list[Floats]:
        """Four (n,) arrays of a plan that decides on `decided` (n, classes), whose means over
        inputs are what :meth:`estimate` needs: they add up wherever each input stops."""
        labelled, credited = self._of_baseline(metric)
        judge = quality_metric(metric)
        credit = judge.expected(self.targets, decided) - credited
        gain = judge.values(self.targets, decided) - labelled
        return [credit, credit**2, gain, gain**2]

    def estimate(self, metric: str, means: Sequence[Doubles]) -> Estimates:
        """Estimates of plans from the means (plans,) of their four moments."""
        credit, credit_squared, gain, gain_squared = means
        base = float(self._of_baseline(metric)[0].mean(dtype=np.float64))
        cautious = credit - CAUTION * self._error(credit, credit_squared)
        possible = gain + VETO * self._error(gain, gain_squared)
        return Estimates(base + gain, base + np.minimum(cautious, possible))

    def of(
        self, metric: str, decided: Floats, caution: float = EARLY_CAUTION
    ) -> tuple[float, float]:
        """A plan that stops early and decides on `decided` (n, classes): as replayed, exact for
        linearised metrics too, and guarded.

        It may know of the stream what no jury knows of an input, so labels judge it: `caution`
        standard errors of the paired difference are taken off. Errors are those of independent
        blocks or of objects, whichever are larger: a stream that shows a photograph again tells
        nothing new of it.
        """
        labelled, _ = self._of_baseline(metric)
        gain = quality_metric(metric).values(self.targets, decided) - labelled
        mean, base = (float(v.mean(dtype=np.float64)) for v in (gain, labelled))
        cautious = base + mean - caution * self.error(gain)
        found = Estimates(np.array([base + mean]), np.array([cautious]))
        if not quality_metric(metric).linear:
            found = self.exact_at(metric, found, np.array([0]), decided.argmax(1)[None])
        return float(found.replayed[0]), float(found.guarded[0])

    def error(self, values: Doubles | Floats) -> float:
        """Standard error of the mean of values (n,) of tune: that of independent blocks or of
        objects, whichever is larger."""
        kinds = [k for k in (self.targets.blocks, self._objects) if k is not None]
        return max(block_error(values, kind) for kind in kinds or [np.arange(len(values))])

    def exact_at(
        self, metric: str, found: Estimates, points: NDArray[np.intp], answers: Ints
    ) -> Estimates:
        """Estimates of a linearised metric, at some `points` made exact by what plans answer
        there (points, n): the margin already subtracted is kept."""
        judge = quality_metric(metric)
        assert isinstance(judge, LinearisedMetric)
        error = judge.exact(self.targets, answers) - found.replayed[points]
        replayed, guarded = found.replayed.copy(), found.guarded.copy()
        replayed[points] += error
        guarded[points] += error
        return Estimates(replayed, guarded)

    def _of_baseline(self, metric: str) -> tuple[Floats, Floats]:
        """The baseline's values, by labels and by credit."""
        if metric not in self._known:
            judge = quality_metric(metric)
            values = judge.values(self.targets, self._baseline)
            self._known[metric] = values, judge.expected(self.targets, self._baseline)
        return self._known[metric]

    def _error(self, mean: Doubles, mean_square: Doubles) -> Doubles:
        variance = np.maximum(mean_square - mean**2, 0.0)
        found: Doubles = np.sqrt(variance / self._count) * self._stretch
        return found
