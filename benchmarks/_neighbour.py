"""A neighbour on the machine: a process that takes a core in bursts of 1 to 60 seconds.

python -m benchmarks._neighbour SEED
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

SHORTEST_S, LONGEST_S = 1.0, 60.0


@contextmanager
def neighbour(seed: int) -> Iterator[None]:
    """Somebody else works on this machine meanwhile, the same way for the same `seed`."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks._neighbour", str(seed)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main(seed: int) -> None:
    """Work and rest in turns, for ever: for 1 to 60 s each, even on a logarithmic scale."""
    draw, matrix = random.Random(seed), np.ones((256, 256), np.float32)
    while True:
        work_s, rest_s = (SHORTEST_S * (LONGEST_S / SHORTEST_S) ** draw.random() for _ in range(2))
        ends = time.monotonic() + work_s
        while time.monotonic() < ends:
            matrix @ matrix
        time.sleep(rest_s)


if __name__ == "__main__":
    main(int(sys.argv[1]))
