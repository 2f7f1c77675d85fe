"""Conservative estimates of quality: selection without the winner's curse.

Among thousands of plans, the best on a finite sample is partly the luckiest: on the ImageNet zoo
the fastest plan that is 'not worse' on 500 images loses 1 to 1.5 points on others (the winner's
curse; Cawley & Talbot, JMLR 2010). So plans are not ranked by labels, but by the
consensus of an ensemble.

1. *Ensemble*: the variants whose accuracy on the labelled images is not significantly below the
   best one's (paired test at 5 %; a one-pass model confidence set, Hansen, Lunde & Nason,
   Econometrica 2011), and which say more than the class frequencies do: a network that always
   gives the commonest class is often right, and says nothing. Its consensus is the mean of their
   calibrated probabilities, as of deep ensembles (Lakshminarayanan et al., NeurIPS 2017).
2. *Credit*: a plan is credited on an input with the probability that the consensus gives its
   answer, not with 0 or 1. Its difference to the baseline is zero wherever both agree, and
   elsewhere has a fraction of the variance of the labelled difference (a model-assisted estimate;
   Särndal, Swensson & Wretman, 1992).
3. *Margin*: one standard error of that paired difference is subtracted: the conservative
   estimate (`guarded`).
4. *Veto*: labels must not contradict. The conservative estimate is never above the labelled
   difference plus 1.96 standard errors.
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

#: Standard errors of the credited difference that are subtracted.
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


def consensus(probabilities: Sequence[Floats], labelled: Ints, targets: Ints) -> Floats:
    """The consensus of the ensemble: mean probabilities (inputs, classes) on every input.

    `probabilities` one (inputs, classes) a variant, calibrated; `targets` are the classes of the
    rows `labelled`.
    """
    heard = np.array([_says_something(p[labelled], targets) for p in probabilities])
    if not heard.any():  # nobody says anything: then all are heard
        heard[:] = True
    correct = np.stack([p[labelled].argmax(1) == targets for p in probabilities]).astype(float)
    best = int(np.where(heard, correct.mean(1), -1.0).argmax())
    lost = correct[best] - correct
    errors = lost.std(1) / np.sqrt(len(labelled))
    kept = heard & ~(lost.mean(1) > 1.96 * errors)
    seated = [p for p, stays in zip(probabilities, kept, strict=True) if stays]
    opinion: Floats = np.mean(seated, axis=0, dtype=np.float32)
    return opinion


def _says_something(probabilities: Floats, targets: Ints) -> bool:
    """Whether `probabilities` (n, classes) say of `targets` (n,) more than the frequencies of the
    classes do: LEAST_SAID of what there is to say, in nats."""
    rows = np.arange(len(targets))
    own = np.maximum(probabilities[rows, targets].astype(np.float64), _RULED_OUT)
    share = np.bincount(targets, minlength=probabilities.shape[1]) / len(targets)
    unknown = -float(np.log(share[targets]).mean())
    return unknown + float(np.log(own).mean()) > LEAST_SAID * unknown


@dataclass(frozen=True)
class Estimates:
    """Quality on `tune` of some plans, (plans,) each: as replayed, and the conservative estimate
    (`guarded`)."""

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
        """Of a plan with early exits that decides on `decided` (n, classes): the quality as
        replayed, exact for linearised metrics too, and its conservative estimate.

        It may use the stream, which the consensus does not know, so labels judge it: `caution`
        standard errors of the paired difference are subtracted. Errors are those of independent
        blocks or of objects, whichever are larger: a photograph that is shown again is no new
        evidence.
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
