"""How many examples property tests draw: the one place that says so."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

#: The most that one test draws where the slow tests are left out (`make test`).
FEW = 25

_all_of_them = True


def leave_most_out() -> None:
    """From now on :func:`examples` asks for FEW at most."""
    global _all_of_them
    _all_of_them = False


def examples(count: int) -> settings:
    """So many examples, the same in every run; at most FEW in the fast suite."""
    return settings(
        max_examples=count if _all_of_them else min(count, FEW),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
