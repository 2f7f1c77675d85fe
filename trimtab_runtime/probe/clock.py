"""Timing, memory and the reference that tells drift from difference."""

from __future__ import annotations

import gc
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from trimtab_runtime.definitions.plan import RuntimeOptions

#: Seconds after which onnxruntime's threads have stopped spinning for more work.
_SPIN_S = 0.02
#: Side of the parallel reference's matrices, and numbers in its memory (8 MB), of all threads.
_SIDE, _FAR = 192, 2**21


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


class ParallelReference:
    """Fixed work on as many threads as the candidate has, and on its cores: real and integer
    arithmetic in a few steps, each of which waits for the slowest thread as a layer does, then a
    walk through memory larger than the inner caches. It needs no engine, so that it is the same
    work beside all of them; NumPy lets go of the interpreter's lock while it computes.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        generator = np.random.default_rng(0)
        weights = generator.standard_normal((_SIDE, _SIDE)).astype(np.float32)
        weights /= np.float32(np.sqrt(_SIDE))  # so that products keep their size
        rows = -(-_SIDE // threads)
        self._parts = [
            _Part(
                generator.standard_normal((rows, _SIDE)).astype(np.float32),
                weights.copy(),
                generator.integers(-100, 100, 2 * rows * _SIDE).astype(np.int8),
                np.ones(_FAR // threads, np.float32),
            )
            for _ in range(threads)
        ]

    def run_ms(self) -> float:
        """Milliseconds of one run (about 2 on one desktop core)."""
        start = time.perf_counter_ns()
        for _ in range(4):
            self._each(_Part.compute)
        self._each(_Part.read)
        return (time.perf_counter_ns() - start) / 1e6

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _each(self, work: Callable[[_Part], None]) -> None:
        if self._pool is None:
            work(self._parts[0])
        else:
            list(self._pool.map(work, self._parts))


class _Part:
    """What one thread of a parallel reference works on: `real` (rows, side) and `weights` (side,
    side) float32, `whole` int8, and `far` float32, which is only read."""

    def __init__(self, real: Any, weights: Any, whole: Any, far: Any) -> None:
        self._real, self._weights, self._whole, self._far = real, weights, whole, far
        self._products = np.empty(len(whole), np.int16)

    def compute(self) -> None:
        product = self._real
        for _ in range(2):
            product = product @ self._weights
        for _ in range(8):
            np.multiply(self._whole, self._whole, out=self._products, dtype=np.int16)

    def read(self) -> None:
        self._far.max()


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
