"""Measuring groups of stages in one process, each group twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trimtab.db import MeasurementRecord
from trimtab.planner.jobs.journal import Journal
from trimtab.planner.jobs.steps import ENDS_JOB, one_step
from trimtab_runtime.errors import TrimtabError


def measure_twice(
    labels: Sequence[str], measure: Callable[[int, int], MeasurementRecord], journal: Journal
) -> dict[int, list[MeasurementRecord]]:
    """Both visits of what `measure(number, visit)` measures, by the numbers of its `labels`. What
    cannot be measured is left out, with a note.

    The second time is in reverse order, so that a slow change of the machine falls on all alike.
    Raises StoreError or DeviceLost.
    """
    visits: dict[int, list[MeasurementRecord]] = {n: [] for n in range(len(labels))}
    order = [*visits, *reversed(visits)]
    for done, number in enumerate(order):
        journal.step("together", labels[number], done, len(order))
        if number in visits:
            try:
                with one_step():
                    visits[number].append(measure(number, 1 + done // len(labels)))
            except ENDS_JOB:
                raise
            except TrimtabError as error:
                del visits[number]
                journal.note("error", labels[number], f"left out: {error}")
    return visits
