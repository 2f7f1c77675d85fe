"""What was tried and how it answered. Plain data, kept in stores as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trimtab_runtime.definitions.plan import Variant

#: Raised whenever other set-ups are tried or judged otherwise: what was kept before is tried anew.
CHECK_VERSION = 3


@dataclass(frozen=True)
class CheckedMember:
    """A member's file and how the specification says it is fed and read; `doubts` are sentences:
    where the file itself says otherwise."""

    name: str
    path: str
    variant: Variant
    width: int
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckRequest:
    """Members to be tried on `images`, whose `labels` are indices into `classes` (None: there are
    none). A member is tried for about `patience_s` at most, up to four times as long on a busy
    machine; in a process of its own, an inference without an answer for `stall_s` ends it."""

    members: tuple[CheckedMember, ...]
    images: tuple[str, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]
    patience_s: float = 20.0
    stall_s: float = 120.0
    threads: int = 2


@dataclass(frozen=True)
class TriedSetup:
    """A set-up that was tried beside the specified one on the same `images`: `changes` say how it
    differs, by cause. It was right on `right` of them. On the `judged` ones, on which it had not
    been picked, `won` were right by it alone, `lost` by the specified one alone. `p_value` is
    corrected for all that was compared on these."""

    changes: dict[str, str]
    images: int
    right: int
    judged: int
    won: int
    lost: int
    p_value: float

    @property
    def text(self) -> str:
        """How it differs, in words."""
        return changes_text(self.changes)

    @property
    def share(self) -> float:
        return self.right / self.images


@dataclass(frozen=True)
class UnlabelledSetup:
    """How a set-up answers `images` without labels: `changes` as of TriedSetup, `sureness`,
    `entropy` and `agreement` as of MemberCheck (the others set up as specified)."""

    changes: dict[str, str]
    images: int
    sureness: float
    entropy: float
    agreement: float | None = None

    @property
    def text(self) -> str:
        return changes_text(self.changes)


def changes_text(changes: Mapping[str, str]) -> str:
    """How a set-up differs, in words."""
    return ", ".join(f"{cause}: {what}" for cause, what in changes.items())


@dataclass(frozen=True)
class MemberCheck:
    """How a member answers.

    The specified set-up is right on `right` of `images`, `by_chance` is the share that answers as
    frequent as these would have by chance. `rivals` are what answers best else, the best first;
    where `beaten`, the first of them beats the specified one beyond doubt. `always` names the one
    class that is ever answered. `input` holds the fields of InputFormat that the first rival would
    change, `offset` and `order` (class names as the outputs have them) the same of the output.
    `sureness` (mean largest probability) and `entropy` (mean, as a share of the largest possible)
    are of the specified set-up; `agreement` is the share of images on which other members answer
    the same class. Without labels, `unlabelled` are other set-ups, the likeliest first. `doubts`
    are those of the file, `problem` says why it could not be tried, `notes` what its file and what
    describes it told.
    """

    member: str
    specified: str
    images: int
    right: int | None = None
    tried: int = 1
    by_chance: float | None = None
    near_chance: bool = False
    always: str | None = None
    rivals: tuple[TriedSetup, ...] = ()
    beaten: bool = False
    input: dict[str, Any] = field(default_factory=dict)
    offset: int | None = None
    order: tuple[str, ...] = ()
    sureness: float | None = None
    entropy: float | None = None
    agreement: float | None = None
    unlabelled: tuple[UnlabelledSetup, ...] = ()
    doubts: tuple[str, ...] = ()
    problem: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SetupCheck:
    """The check of all members."""

    members: tuple[MemberCheck, ...]
    labelled: bool

    @property
    def wrong(self) -> tuple[MemberCheck, ...]:
        """Members whose specified set-up is beaten beyond doubt."""
        return tuple(member for member in self.members if member.beaten)

    @property
    def all_near_chance(self) -> bool:
        """Whether no member knows more than chance."""
        tried = [member for member in self.members if member.problem is None]
        return bool(tried) and all(member.near_chance for member in tried)

    @property
    def stops(self) -> bool:
        """Whether a job should not go on with these members as they are."""
        return bool(self.wrong) or self.all_near_chance
