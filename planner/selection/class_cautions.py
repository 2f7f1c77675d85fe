"""What a mean over inputs hides of a plan: classes that it never answers, and the class that it
finds least often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trimtab.planner.jobs.dataset import class_names
from trimtab.planner.selection.evaluation import PlanEvaluator
from trimtab.planner.selection.plan import PlanCandidate
from trimtab.search.estimates.targets import Ints
from trimtab.workloads.images.text import first_few
from trimtab_runtime.text import printable


def class_cautions(
    evaluator: PlanEvaluator, plan: PlanCandidate, baseline: PlanCandidate
) -> list[str]:
    """Warnings about a plan from its answers on tune and test, compared with the baseline's.
    Empty without labels, and where there is nothing to say."""
    rows = evaluator.data.rows
    if rows.labels is None:
        return []
    labels = rows.labels[np.concatenate([rows.tune, rows.test])]
    own, base = (_answers(evaluator, one) for one in (plan, baseline))
    return cautions_of(labels, own, base, rows.classes)


def cautions_of(labels: Ints, own: Ints, base: Ints, names: Sequence[str]) -> list[str]:
    """The same of answers (n,): a plan's `own`, and those of the `base` that it is compared with.
    Classes without a name are called by their index."""
    count = max(len(names), int(max(labels.max(), own.max(), base.max())) + 1)
    known = class_names(names, count)
    return [*_never_answered(labels, own, known), *_worst_recall(labels, own, base, known)]


def worst_class(counts: Sequence[Sequence[int]], names: Sequence[str]) -> tuple[str, float] | None:
    """Of [label, answer, images] the class with the lowest recall, and that; None where nothing is
    counted."""
    if not len(counts):
        return None
    table = np.array(counts, np.int64)
    size = 1 + int(table[:, :2].max())
    right = table[:, 0] == table[:, 1]
    images = np.bincount(table[:, 0], table[:, 2], size)
    known = np.bincount(table[right, 0], table[right, 2], size)
    recalls = np.where(images > 0, known / np.maximum(images, 1), np.inf)
    worst = int(recalls.argmin())
    return printable(class_names(names, size)[worst]), float(recalls[worst])


def _answers(evaluator: PlanEvaluator, plan: PlanCandidate) -> Ints:
    """(inputs of tune and test,) each split from an empty memory."""
    answers = [evaluator.replayed_on(plan, split).answer for split in ("tune", "test")]
    found: Ints = np.concatenate(answers)
    return found


def _never_answered(labels: Ints, answers: Ints, names: Sequence[str]) -> list[str]:
    never = sorted(set(labels.tolist()) - set(answers.tolist()))
    if not never:
        return []
    share = float(np.isin(labels, never).mean())
    one = len(set(answers.tolist())) == 1
    always = f"it answers {names[answers[0]]!r} to every image; " if one else ""
    shown = first_few([names[index] for index in never])
    return [
        f"{always}it never answers {len(never)} of {len(set(labels.tolist()))} classes that the "
        f"images of tune and test show ({shown}; {share:.1%} of the images)"
    ]


def _worst_recall(labels: Ints, own: Ints, base: Ints, names: Sequence[str]) -> list[str]:
    mine, other = (_recalls(labels, answers, len(names)) for answers in (own, base))
    worst, before = int(np.nanargmin(mine)), float(np.nanmin(other))
    if mine[worst] >= before:
        return []
    return [
        f"its worst recall is {mine[worst]:.3f}, of {names[worst]!r} "
        f"({int((labels == worst).sum())} image(s) of tune and test); the baseline's worst is "
        f"{before:.3f}"
    ]


def _recalls(labels: Ints, answers: Ints, classes: int) -> NDArray[np.float64]:
    """(classes,) the share of each class's images that is answered so; NaN where it has none."""
    shown = np.bincount(labels, minlength=classes).astype(np.float64)
    shown[shown == 0] = np.nan
    found: NDArray[np.float64] = np.bincount(labels[answers == labels], minlength=classes) / shown
    return found
