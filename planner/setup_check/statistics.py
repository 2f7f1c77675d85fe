"""How sure a difference between two set-ups on the same images is, and what chance is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from trimtab.planner.setup_check.records import TriedSetup

#: A set-up is beaten beyond doubt where a tie would look so with less than this probability,
#: counted over all that was tried on these images ...
ALPHA = 0.002
#: ... and by at least this share of the images. Another way to fit an image into the input may
#: rightly answer a little better; so may an order that was found in the answers themselves.
MATERIAL = {"geometry": 0.1, "order": 0.1}
MATERIAL_ELSE = 0.05
#: Answers are 'near chance' where chance alone is right so often with at least this probability.
NEAR_CHANCE = 0.01

Bools = NDArray[np.bool_]


def sign_test(better: Bools, worse: Bools) -> tuple[int, int, float]:
    """On the same images: how many `better` alone and `worse` alone answer rightly, and how
    probable so large a lead of `better` is where both are equally good (McNemar's exact test,
    one-sided)."""
    won, lost = int((better & ~worse).sum()), int((worse & ~better).sum())
    if won + lost == 0:
        return won, lost, 1.0
    return won, lost, float(binomtest(won, won + lost, 0.5, alternative="greater").pvalue)


def share_of_error(look: int, looks: Sequence[int]) -> float:
    """How much of the error a look may spend: half is left for the last one, which sees most, and
    what is told before it needs to be plain."""
    if len(looks) == 1:
        return 1.0
    return 0.5 if look == looks[-1] else 0.5 / (len(looks) - 1)


def chance(predicted: NDArray[np.int64], places: NDArray[np.int64]) -> float:
    """The share of right answers that answers as frequent as these have where they know nothing
    of the image: `places` (images,) are the right ones."""
    size = int(max(predicted.max(), places.max())) + 1
    answered = np.bincount(predicted, minlength=size) / len(predicted)
    wanted = np.bincount(places, minlength=size) / len(places)
    return float(answered @ wanted)


def near_chance(right: int, images: int, by_chance: float) -> bool:
    """Whether so many right answers are no more than chance gives (exact binomial test,
    one-sided), and too few for a network that is right halfway between chance and always. False
    where so few images cannot tell."""
    if knows(right, images, by_chance):
        return False
    halfway = (1 + by_chance) / 2
    return bool(binom.cdf(right, images, halfway) < NEAR_CHANCE)


def knows(right: int, images: int, by_chance: float) -> bool:
    """Whether so many right answers are more than chance gives."""
    return bool(binom.sf(right - 1, images, by_chance) <= NEAR_CHANCE)


def material(causes: Iterable[str]) -> float:
    """The least share of images by which a set-up that differs in these ways must be better."""
    return max((MATERIAL.get(cause, MATERIAL_ELSE) for cause in causes), default=MATERIAL_ELSE)


def beats(told: TriedSetup) -> bool:
    """Whether a rival beats the specified set-up beyond doubt: surely, and by enough to matter."""
    lead = (told.won - told.lost) / max(1, told.judged)
    return told.p_value < ALPHA and lead >= material(told.changes)
