"""How fast bundles are when somebody else measures them, with nothing of the planner's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trimtab_runtime.errors import TrimtabError

#: Seconds that a bundle may take.
_MOST_S = 600.0


@dataclass
class Truth:
    """Milliseconds of bundles, by the keys of plans: one a round."""

    times: dict[str, list[float]] = field(default_factory=dict)

    def runs(self, key: str, baseline: str) -> NDArray[np.float64]:
        """How many times as fast as the baseline a plan was in each round."""
        return np.array(self.times[baseline]) / np.array(self.times[key])

    def speedup(self, key: str, baseline: str) -> float:
        """The median of these."""
        return float(np.median(self.runs(key, baseline)))


def measured(bundles: Mapping[str, tuple[Path, Path]], kept: Path, rounds: int) -> Truth:
    """Bundles (each with a list of its images) by the keys of plans, in turns, each time in a
    fresh process; what is known already is `kept`, with what a round adds."""
    known = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    truth, draw = Truth({key: known.get(key, []) for key in bundles}), np.random.default_rng(0)
    for number in range(rounds):
        waiting = [key for key in bundles if len(truth.times[key]) <= number]
        print(f"truth: round {number + 1} of {rounds}, {len(waiting)} bundles", flush=True)
        for key in draw.permutation(waiting):
            truth.times[key].append(bundle_ms(*bundles[key]))
        kept.write_text(json.dumps(truth.times), "utf-8")
    return Truth({key: times[:rounds] for key, times in truth.times.items()})


def bundle_ms(bundle: Path, listing: Path) -> float:
    """Mean milliseconds of a bundle over the images that a file lists."""
    script = Path(__file__).with_name("_bundle_ms.py")
    done = subprocess.run(
        [sys.executable, str(script), str(bundle), str(listing)],
        env={**os.environ, "PYTHONPATH": str(bundle)},
        capture_output=True,
        text=True,
        timeout=_MOST_S,
        check=False,
    )
    if done.returncode:
        raise TrimtabError(f"{bundle}: {done.stderr.strip()}")
    return float(done.stdout)
