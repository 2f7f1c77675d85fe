"""Timing, memory and the reference that tells drift from difference."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from trimtab_runtime.definitions.plan import RuntimeOptions

#: Seconds after which onnxruntime's threads have stopped spinning for more work.
_SPIN_S = 0.02


class Reference:
    """A fixed piece of work, the same on every machine: matrix products, then a walk through
    memory larger than the inner caches. Its time follows clock speed and contention; run before
    a variant, it also leaves the caches as another stage would.
    """

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self._matrix = generator.standard_normal((192, 192)).astype(np.float32)
        self._memory = np.ones(2**20, np.float32)

    def run_ms(self) -> float:
        """Milliseconds of one run (about 2 on a desktop core)."""
        start = time.perf_counter_ns()
        product = self._matrix
        for _ in range(8):
            product = self._matrix @ product
            product *= np.float32(0.01)
        self._memory *= np.float32(1.0)
        self._memory.sum()
        return (time.perf_counter_ns() - start) / 1e6


def timed_ms(call: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a call and its milliseconds."""
    start = time.perf_counter_ns()
    result = call()
    return result, (time.perf_counter_ns() - start) / 1e6


def settle(options: RuntimeOptions) -> None:
    """Let threads that spin after an inference go to sleep, or they would slow the reference."""
    if options.spinning and options.threads > 1:
        time.sleep(_SPIN_S)


def pin(threads: int) -> None:
    """Keep this process on its last `threads` cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[-threads:])


def resident_mb() -> Optional[float]:
    """Resident size of this process in MB (2**20 bytes); None where the system does not tell."""
    gc.collect()
    return _status_mb("VmRSS")


def peak_mb() -> Optional[float]:
    """Largest resident size so far in MB; None where the system does not tell."""
    found = _status_mb("VmHWM")
    if found is None:
        try:
            import resource
        except ImportError:  # Windows
            return None
        found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def _status_mb(field: str) -> Optional[float]:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    values: dict[str, str] = dict(line.split(":", 1) for line in lines.splitlines() if ":" in line)
    return int(values[field].split()[0]) / 1024 if field in values else None
