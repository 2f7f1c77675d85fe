"""What a device tells during a job: noted, counted, shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from planner.journal import Journal
from profilers import Listener


class Listening(Listener):
    """Passes on to the journal; `troubles` counts them by kind."""

    def __init__(self, journal: Journal, address: str) -> None:
        self._journal, self._address = journal, address
        self.troubles: Counter[str] = Counter()

    def trouble(self, kind: str, text: str) -> None:
        self.troubles[kind] += 1
        self._journal.note("warning", self._address, text)

    def waiting(self) -> None:
        self._journal.alive()

    def sending(self, done_bytes: int, total_bytes: int) -> None:
        done_mb, total_mb = done_bytes / 2**20, total_bytes / 2**20
        self._journal.step("send", f"{total_mb:.1f} MB to the device", done_mb, total_mb)


def troubles_text(summary: Mapping[str, Any]) -> str | None:
    """What a job's summary tells of its device, in words; None where nothing went wrong."""
    troubles: Mapping[str, int] = summary.get("troubles", {})
    if not troubles:
        return None
    told = ", ".join(f"{kind} ({count})" for kind, count in sorted(troubles.items()))
    return f"On the device, and dealt with: {told}. The notes above say more."
