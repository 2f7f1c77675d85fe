"""Sets of blocks that a benchmark may replace regions of a network by, timed here by turns."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
import torch

from benchmarks.slimming_shape import session_of
from trimtab.search.block_sets import Combination, Replacement, best_combinations
from trimtab.variants.slimming import (
    FolderCache,
    Learned,
    Network,
    Proposal,
    TrainingImages,
    extract,
    learn_alone,
    overlaps,
    propose,
    read_network,
    replace,
    write_network,
)
from trimtab.variants.slimming.training.cache import key_of, model_key

_TRIALS, _ROUNDS, _TRIES = 4000, 60, 3
_ALIKE = 1.02  # times of equal networks, measured in turns, differ by so much


@dataclass(frozen=True)
class Blocks:
    """Proposals that save time with what was learned of each alone, by key, and the sets of them
    that save most (milliseconds, summed) for the least sum of errors."""

    network: Network
    proposals: list[Proposal]
    learned: dict[str, Learned]
    front: list[Combination]
    cache: FolderCache

    def least_set(self, holds: Callable[[Path], bool], **said: object) -> list[Proposal]:
        """The set of least errors of which, built, something holds; that which saves most where it
        holds of none. It is kept as what `said` calls it, for another time's figures may tell
        another set."""
        key = key_of(kind="set", network=model_key(self.network.model), **said)
        kept = self.cache.get(key)
        if kept is None or not self.learned.keys() >= set(json.loads(kept)):
            kept = json.dumps([proposal.key for proposal in self._least_set(holds)]).encode()
            self.cache.put(key, kept)
        chosen = set(json.loads(kept))
        return [proposal for proposal in self.proposals if proposal.key in chosen]

    def set_as_fast_as(self, other: Path) -> list[Proposal]:
        """The set of least errors that, built, takes no longer than another network, in turns (but
        for noise)."""
        return self.least_set(
            lambda path: speed_of(path, other) >= 1 / _ALIKE, other=model_key(onnx.load(other))
        )

    def _least_set(self, holds: Callable[[Path], bool]) -> list[Proposal]:
        for combination in self.front:  # the least errors come first
            proposals = [self.proposals[number] for number in combination.chosen]
            built = [(p.region, self.learned[p.key].block) for p in proposals]
            with tempfile.TemporaryDirectory() as name:
                path = Path(name) / "slim.onnx"
                write_network(replace(self.network, built), path)
                if holds(path):
                    break
        return proposals


def find_blocks(
    path: Path,
    rules: Sequence[str],
    inputs: TrainingImages,
    cache: FolderCache,
    worst: float = 1.0,
    most: int = 60,
) -> Blocks:
    """Time what the rules propose against what it replaces, and learn alone the `most` that save
    most. What leaves more than `worst` of its map's variance unexplained is in no set."""
    network = read_network(path)
    proposals = propose(network, rules)
    with tempfile.TemporaryDirectory() as name:
        files = {}
        for number, proposal in enumerate(proposals):
            old = extract(network, proposal.region)
            for kind, model in (("old", old), ("new", proposal.block)):
                files[f"{number}_{kind}"] = Path(name) / f"{number}_{kind}.onnx"
                write_network(model, files[f"{number}_{kind}"])
        ms = medians_in_turns(files, _ROUNDS)
    saved = {p.key: ms[f"{n}_old"] - ms[f"{n}_new"] for n, p in enumerate(proposals)}
    worth = sorted(proposals, key=lambda p: -saved[p.key])[:most]
    found = learn_alone(network, [p for p in worth if saved[p.key] > 0], inputs, cache=cache)
    learned, kept = {}, []
    for proposal, result in found:
        if isinstance(result, Learned):
            told = f"saves {saved[proposal.key]:.3f} ms, error {result.error:.4f}"
            print(f"{proposal.note}: {told}", flush=True)
            if result.error <= worst:
                kept.append(proposal)
                learned[proposal.key] = result
    regions = list(dict.fromkeys(proposal.region for proposal in kept))
    replacements = [
        Replacement(regions.index(p.region), saved[p.key], max(learned[p.key].error, 0.0))
        for p in kept
    ]
    conflicts = {
        (a, b)
        for a, b in combinations(range(len(kept)), 2)
        if overlaps(network, kept[a].region, kept[b].region)
    }
    front = best_combinations(replacements, conflicts, _TRIALS, 0)
    return Blocks(network, kept, learned, front, cache)


def speed_of(path: Path, other: Path) -> float:
    """How many times as fast as another network one is, in turns: the median of some tries with
    sessions of their own, for where their memory lies counts."""
    tries = [medians_in_turns({"one": path, "other": other}, _ROUNDS) for _ in range(_TRIES)]
    return float(np.median([ms["other"] / ms["one"] for ms in tries]))


def medians_in_turns(paths: dict[str, Path], rounds: int) -> dict[str, float]:
    """Milliseconds of one run of each file on one core, all in turns."""
    with one_core():
        sessions = {name: session_of(path) for name, path in paths.items()}
        rng = np.random.default_rng(0)
        feeds = {}
        for name, session in sessions.items():
            (given,) = session.get_inputs()
            feeds[name] = {given.name: rng.standard_normal(given.shape, np.float32)}
        times: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(rounds + 3):
            for name in rng.permutation(list(sessions)):
                start = time.perf_counter_ns()
                sessions[name].run(None, feeds[name])
                times[name].append((time.perf_counter_ns() - start) / 1e6)
    return {name: float(np.median(found[3:])) for name, found in times.items()}


def multiplies_bfloat16() -> bool:
    """Whether this processor does: then learning in these is faster."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process on the last core, where that can be said."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
