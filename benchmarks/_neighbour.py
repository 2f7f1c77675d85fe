"""A neighbour on the machine: a process that takes a core in bursts of 1 to 60 seconds.

python -m benchmarks._neighbour SEED [LONGEST]
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from benchmarks._options import ROOT

SHORTEST_S, LONGEST_S = 1.0, 60.0


@contextmanager
def neighbour(seed: int, longest_s: float = LONGEST_S) -> Iterator[None]:
    """Somebody else works on this machine meanwhile, the same way for the same `seed`, in bursts
    of up to `longest_s`."""
    command = [sys.executable, "-m", "benchmarks._neighbour", str(seed), str(longest_s)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main(seed: int, longest_s: float = LONGEST_S) -> None:
    """Work and rest in turns, for ever: each for a second or more, even on a log scale."""
    draw, matrix = random.Random(seed), np.ones((256, 256), np.float32)
    shortest_s = min(SHORTEST_S, longest_s)
    while True:
        work_s, rest_s = (shortest_s * (longest_s / shortest_s) ** draw.random() for _ in range(2))
        ends = time.monotonic() + work_s
        while time.monotonic() < ends:
            matrix @ matrix
        time.sleep(rest_s)


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(float, sys.argv[2:]))
