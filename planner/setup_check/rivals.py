"""Set-ups that were tried, and how they did beside the specified one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trimtab.planner.setup_check.orders import Reading
from trimtab.planner.setup_check.records import TriedSetup
from trimtab.planner.setup_check.statistics import MATERIAL_ELSE, Bools, sign_test

#: A set-up with fewer changes is the likelier cause, unless the best one beats it with this p.
_AS_GOOD = 0.05
#: Beyond the first look rivals go on while they lead by so many standard deviations of a tie.
_PROMISING = 1.0
#: Causes as they are named: what makes all answers wrong comes first.
_CAUSES = ("offset", "order", "normalisation", "colour", "geometry")


@dataclass(frozen=True)
class Setup:
    """An input and a reading of the output; `changes` say how both differ from the specified."""

    input: int
    reading: Reading
    changes: dict[str, str]


@dataclass(frozen=True)
class Rival:
    """A set-up beside the specified one, and how it did: `right` (images,), and in figures. It
    was `found` in the answers, where nobody thought of it before, and is `certain` where they tell
    the place of every class."""

    setup: Setup
    right: Bools
    told: TriedSetup
    found: bool = False
    certain: bool = True

    @property
    def undecided(self) -> bool:
        """Whether it may yet be better by enough to matter."""
        most = self._lead + 2 * self._spread
        return most >= MATERIAL_ELSE * max(1, self.told.judged)

    @property
    def promising(self) -> bool:
        """Whether more images may show that it is better, and by enough to matter."""
        return self._lead > 0 and self._lead >= _PROMISING * self._spread and self.undecided

    @property
    def _lead(self) -> int:
        return self.told.won - self.told.lost

    @property
    def _spread(self) -> float:
        """A standard deviation of the lead where both are equally good."""
        return float((self.told.won + self.told.lost) ** 0.5)


def beside(
    setup: Setup, right: Bools, specified: Bools, first: int, compared: float
) -> TriedSetup:
    """A set-up that is `right` (images,) beside the specified one, judged from image `first` on;
    `compared` is what its probability is multiplied with, for all that is compared (a number of
    set-ups over the share of the error that this look may spend)."""
    won, lost, p_value = sign_test(right[first:], specified[first:])
    images, judged = len(right), len(right) - first
    p_value = min(1.0, p_value * compared)
    return TriedSetup(setup.changes, images, int(right.sum()), judged, won, lost, p_value)


def worth_trying(scored: Sequence[tuple[Bools, Setup]]) -> list[Setup]:
    """Of set-ups with what they were right on: the specified one, then those that were about as
    often or more. The best come first, a change counting as much as an image; one of each pattern
    of answers."""
    ranked = sorted(scored, key=lambda e: (len(e[1].changes) - int(e[0].sum()), len(e[1].changes)))
    right, specified = next(each for each in ranked if not each[1].changes)
    found, seen, least = [specified], {right.tobytes()}, right.sum() - 1
    for right, setup in ranked:
        if right.sum() >= least and right.tobytes() not in seen:
            seen.add(right.tobytes())
            found.append(setup)
    return found


def ordered(changes: Mapping[str, str]) -> dict[str, str]:
    """Changes by cause, in the order in which they are named."""
    return {cause: changes[cause] for cause in _CAUSES if cause in changes}


def likeliest_first(found: Sequence[Rival]) -> list[Rival]:
    """The best first; before it those with fewer changes that are as good."""
    if not found:
        return []
    top = max(found, key=lambda rival: rival.told.right)

    def place(rival: Rival) -> tuple[bool, int, int]:
        as_good = sign_test(top.right, rival.right)[2] > _AS_GOOD
        return not as_good, len(rival.setup.changes) if as_good else 0, -rival.told.right

    return sorted(found, key=place)
