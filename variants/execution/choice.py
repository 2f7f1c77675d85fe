"""Who carries out steps, by what the user says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from trimtab.variants.execution.work import Executor, Here


def executor_on(
    cluster: str | None, told: Callable[[str], None] = lambda text: None
) -> AbstractContextManager[Executor]:
    """Whoever carries out steps: a Ray cluster (`auto`, or the address of one), or this machine.
    `told` is told which nodes were left out, and why. Raises ClusterError."""
    if cluster is None:
        return nullcontext(Here())
    from trimtab.variants.execution.cluster import connected  # Ray is an extra

    return connected(cluster, told)
