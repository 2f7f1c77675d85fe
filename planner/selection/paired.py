"""How a plan did in turns with others, as figures; and as it is kept in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trimtab.search.estimates.paired_times import Known


def disturbances(details: Mapping[str, Any]) -> tuple[str, ...]:
    """What disturbed a bundle, from the details of its verification: in turns where it took them,
    which is where its figures are from, else when it ran alone."""
    paired = PairedFigures.read(details)
    return paired.warnings if paired is not None else tuple(details.get("warnings") or ())


@dataclass(frozen=True)
class PairedFigures:
    """`speedup` over the baseline and mean `latency_ms`, by split, each with the interval that
    contains 95 % of what one more run gives. `against` says, by the keys of plans that took the
    same turns, how many times as fast as those it is on tune, with the 95 % interval of the mean
    over runs, by which plans are told apart. `timed` are numbers of the images of tune that the
    figures speak of; `warnings` say why the machine was never quiet enough."""

    baseline: str
    speedup: Mapping[str, Known]
    latency_ms: Mapping[str, Known]
    against: Mapping[str, Known] = field(default_factory=dict)
    rounds: int = 0
    timed: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def read(cls, details: Mapping[str, Any]) -> PairedFigures | None:
        """From the details of a verification; None where it took no turns."""
        told = details.get("paired")
        if told is None:
            return None
        known = {
            name: {key: Known.of(value) for key, value in told[name].items()}
            for name in ("speedup", "latency_ms", "against")
        }
        return cls(
            told["baseline"],
            rounds=told["rounds"],
            timed=tuple(told["timed"]),
            warnings=tuple(told["warnings"]),
            **known,
        )

    def plain(self) -> dict[str, Any]:
        """For the details of a verification."""
        known = {
            name: {key: value.plain() for key, value in found.items()}
            for name, found in (
                ("speedup", self.speedup),
                ("latency_ms", self.latency_ms),
                ("against", self.against),
            )
        }
        return {
            "baseline": self.baseline,
            "rounds": self.rounds,
            "timed": list(self.timed),
            "warnings": list(self.warnings),
            **known,
        }

    def faster_than(self, key: str, other: PairedFigures) -> Known | None:
        """How many times as fast as the plan of this key, on tune: as they did in the same turns,
        or by what both did against the baseline. None where they had different ones."""
        if key in self.against:
            return self.against[key]
        if self.baseline != other.baseline:
            return None
        itself = Known(1.0, 1.0, 1.0)
        own, its = (found.against.get(self.baseline, itself) for found in (self, other))
        return own.over(its)
