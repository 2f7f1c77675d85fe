"""What is compared, what may be lost, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["ok", "worse", "unknown"]


@dataclass(frozen=True)
class Limits:
    """What is still as good: `slower`, `memory` and `size` as shares of what was shipped, `points`
    of accuracy in percentage points. What is lost beyond noise, and is more than this, fails.

    A file that is started again may differ by a per cent in latency and memory (where its memory
    lies is decided anew), which no number of repetitions in one process shows.
    """

    slower: float = 0.03
    points: float = 0.0
    memory: float = 0.05
    size: float = 0.02


@dataclass(frozen=True)
class Finding:
    """One figure of both bundles: a `name` of the field, the values of what was shipped and of
    what is new (None: unknown) in `unit`, how they differ in words, and whether that is worse
    beyond noise. `details` are numbers for scripts."""

    name: str
    unit: str
    shipped: float | None
    new: float | None
    change: str
    verdict: Verdict
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckReport:
    """What a check found. `shipped` and `new` name the bundles, `rebuilt` says what was made anew;
    `notes` are what must be read with the figures; `seconds` is what it took."""

    job: str
    device: str
    shipped: str
    new: str
    rebuilt: tuple[str, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether nothing is known to be worse."""
        return not any(found.verdict == "worse" for found in self.findings)

    @property
    def sentence(self) -> str:
        """The verdict."""
        worse = [found.name for found in self.findings if found.verdict == "worse"]
        if worse:
            return f"Do not ship {self.new}: worse than {self.shipped} in {', '.join(worse)}."
        unknown = [found.name for found in self.findings if found.verdict == "unknown"]
        but = f"; unknown: {', '.join(unknown)}" if unknown else ""
        return f"{self.new} is not known to be worse than {self.shipped}{but}."
