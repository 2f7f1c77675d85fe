"""How much cheaper is GoogLeNet in the shape that slimming gives it?

The original GoogLeNet (pooling, LRN, full width, 224x224) with random weights, against what the
rules `streamline` and `branch` make of it, as published (Li, Wang, Kong, AAAI 2018), without
learning; in w8a8; and with Tucker decomposition (half the maps) on top. onnxruntime with all
optimisations, one thread, all networks in turns; speed-ups are ratios of medians, with the 95 %
bootstrap interval of the paired ratio. `shape_activation_memory_ratio` compares planned peaks
(:func:`planned_peak`), `shape_rss_ratio` what a fresh process holds after ten runs above what it
held with the engine imported, `shape_rss_trimmed_ratio` the same without what lies freed there.
`without_lrn` has the same figures against a GoogLeNet without LRN, which today's networks do not
have. A good part of the win is fewer multiply-accumulates (`work_ratio`).
Prints one JSON object as its last line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime
import typer
from scipy import stats

from benchmarks._options import DEFAULT_DATA, NoData
from benchmarks.googlenet import export_onnx, random_googlenet
from benchmarks.runtime_overhead import photograph
from trimtab.variants import inspect_model, make_variant, quantise_w8a8
from trimtab.variants.slimming.network.network import Network, plain_network, read_network, replace
from trimtab.variants.slimming.proposal import Proposal
from trimtab.variants.slimming.rules import propose
from trimtab.variants.slimming.rules.patterns.writing import block_work
from trimtab.variants.slimming.rules.tucker import decomposed

SIDE = 224
_WARM = 5
_TUCKER_SHARE = 0.5
Array = np.ndarray[Any, np.dtype[Any]]


def main(
    rounds: Annotated[int, typer.Option(help="runs of each network")] = 200,
    _data: NoData = DEFAULT_DATA,
) -> None:
    """Slim, time in turns, weigh, print."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(shape_figures(Path(folder), rounds)))


def shape_figures(folder: Path, rounds: int) -> dict[str, Any]:
    """The figures of the benchmark."""
    paths = write_networks(folder)
    times = times_in_turns(paths, rounds)
    peaks = {name: planned_peak(path, folder) for name, path in paths.items()}
    held = {name: held_by(path) for name, path in paths.items()}
    work = {
        name: block_work(onnx.load(str(path)))
        for name, path in paths.items()
        if not name.endswith("w8a8")
    }

    def against(base: str) -> dict[str, Any]:
        found: dict[str, Any] = {
            "shape_activation_memory_ratio": peaks[base] / peaks["slim"],
            "shape_rss_ratio": held[base][0] / held["slim"][0],
            "shape_rss_trimmed_ratio": held[base][1] / held["slim"][1],
            "work_ratio": work[base] / work["slim"],
        }
        names = {"slim": "", "slim_w8a8": "_w8a8", "tucker": "_tucker"}
        names["tucker_w8a8"] = "_tucker_w8a8"
        for name, ending in names.items():
            found[f"shape_speedup{ending}"] = speedup(times[base], times[name])
            found[f"shape_speedup{ending}_interval"] = interval(times[base], times[name])
        return found

    return {
        **against("original"),
        "without_lrn": against("without_lrn"),
        "median_ms": {name: float(np.median(value)) for name, value in times.items()},
        "activation_peak_mb": {name: peak / 1e6 for name, peak in peaks.items()},
        "rss_mb": {name: [value / 1e6 for value in pair] for name, pair in held.items()},
        "file_mb": {name: path.stat().st_size / 1e6 for name, path in paths.items()},
        "multiply_accumulates": work,
        "rounds": rounds,
    }


def published(network: Network) -> list[Proposal]:
    """The proposals of the published slimming: of those that begin at the same tensor the one
    that reaches furthest, and of a module's the one without both of its small branches."""
    furthest: dict[str, Proposal] = {}
    for proposal in propose(network, ("streamline", "branch")):
        furthest[proposal.region.start] = proposal  # the last of them, in network order
    return list(furthest.values())


def write_networks(folder: Path) -> dict[str, Path]:
    """The networks by name, as ONNX files."""
    paths = {}
    for name, lrn in (("original", True), ("without_lrn", False)):
        paths[name] = export_onnx(random_googlenet(lrn=lrn), folder / f"{name}.onnx", SIDE)
    network = read_network(paths["original"])
    chosen = published(network)
    slim = replace(network, [(proposal.region, proposal.block) for proposal in chosen])
    on_top = decomposed(plain_network(slim).model, _TUCKER_SHARE)
    assert on_top is not None
    generator = np.random.default_rng(0)
    images = [np.asarray(photograph(generator)) for _ in range(8)]
    for name, model in (("slim", slim), ("tucker", on_top)):
        paths[name] = folder / f"{name}.onnx"
        onnx.save(model, str(paths[name]))
        variant = make_variant(
            paths[name], inspect_model(paths[name]), {"mean": 127, "std": 128}, {}, name
        )
        small = folder / f"{name}_w8a8.onnx"
        paths[small.stem] = quantise_w8a8(paths[name], variant, images, small)
    return paths


def session_of(path: Path, optimised: Path | None = None) -> onnxruntime.InferenceSession:
    """A session with all optimisations on one thread; the graph it then runs in a file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def times_in_turns(paths: Mapping[str, Path], rounds: int, side: int = SIDE) -> dict[str, Array]:
    """Milliseconds (rounds,) of every network, run one after another in changing order."""
    sessions = {name: session_of(path) for name, path in paths.items()}
    image = np.random.default_rng(0).standard_normal((1, 3, side, side)).astype(np.float32)
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for number in range(rounds + _WARM):
        order = list(sessions) if number % 2 else list(reversed(sessions))
        for name in order:
            feeds = {sessions[name].get_inputs()[0].name: image}
            start = time.perf_counter_ns()
            sessions[name].run(None, feeds)
            if number >= _WARM:
                times[name].append((time.perf_counter_ns() - start) / 1e6)
    return {name: np.array(values) for name, values in times.items()}


def speedup(base: Array, other: Array) -> float:
    """Ratio of medians."""
    return float(np.median(base) / np.median(other))


def interval(base: Array, other: Array) -> list[float]:
    """95 % bootstrap interval of the ratio of medians, rounds drawn as pairs."""

    def ratio(first: Array, second: Array, axis: int = -1) -> Array:
        found: Array = np.median(first, axis) / np.median(second, axis)
        return found

    found = stats.bootstrap(
        (base, other), ratio, paired=True, n_resamples=2000, method="percentile", vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return [float(found.low), float(found.high)]


def planned_peak(path: Path, folder: Path) -> int:
    """Bytes of activations alive at once, at most, while a network runs.

    Counted over the graph that onnxruntime runs after all its optimisations (fused activations,
    blocked layouts), in its order: a tensor lives from the operator that makes it until the last
    that reads it, both included. The input and the output, which are the caller's, scratch space
    inside operators, and writing in place are not counted.
    """
    file = folder / "optimised.onnx"
    session_of(path, file)
    model = onnx.load(str(file))
    sizes, graph = _sizes(model), model.graph
    last = {name: index for index, node in enumerate(graph.node) for name in node.input}
    alive: set[str] = set()
    peak = 0
    for index, node in enumerate(graph.node):
        alive |= sizes.keys() & set(node.output)
        peak = max(peak, sum(sizes[name] for name in alive))
        alive = {name for name in alive if last.get(name, index) > index}
    return peak


def _sizes(model: onnx.ModelProto) -> dict[str, int]:
    """Bytes of every tensor that an optimised graph makes, but its output; found by running it,
    as shape inference does not know blocked layouts."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    names = [n for node in model.graph.node for n in node.output if n]
    names = [n for n in names if n != model.graph.output[0].name]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options)
    image = np.zeros((1, 3, SIDE, SIDE), np.float32)
    found = session.run(names, {model.graph.input[0].name: image})
    return {name: value.nbytes for name, value in zip(names, found, strict=True)}


_HELD = """
import ctypes, os, sys
import numpy as np, onnxruntime
def held():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
image = np.zeros((1, 3, int(sys.argv[2]), int(sys.argv[2])), np.float32)
before = held()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
for _ in range(10):
    session.run(None, {session.get_inputs()[0].name: image})
print(held() - before)
try:
    ctypes.CDLL(None).malloc_trim(0)
except (AttributeError, TypeError, OSError):
    pass
print(held() - before)
"""


def held_by(path: Path) -> tuple[float, float]:
    """Resident bytes of a fresh process after ten runs, above those with the engine imported, and
    the same after free memory went back to the system (glibc's malloc_trim; onnxruntime leaves
    copies of the weights freed but not returned); medians of five processes."""
    command = [sys.executable, "-c", _HELD, str(path), str(SIDE)]
    found = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        for _ in range(5)
    ]
    as_is, trimmed = np.median(np.array(found, float), axis=0)
    return float(as_is), float(trimmed)


if __name__ == "__main__":
    typer.run(main)
