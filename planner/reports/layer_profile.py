"""Where the time of a network goes, operator by operator, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class NodeTime:
    """A node as the engine ran it, in its order.

    `median_ms` and `mean_ms` are over the profiled runs, scaled so that those of all nodes add up
    to a run without profiler; `share` is that of the medians. `originals` are (name, operator) of
    the file's nodes that it carries out, as far as names tell; `multiply_accumulates` theirs for
    one image (None: not known). `shape` is its output's ("1x64x56x56").
    """

    name: str
    operator: str
    weights: bool
    median_ms: float
    mean_ms: float
    share: float
    shape: str
    multiply_accumulates: int | None
    originals: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class OperatorTime:
    """All nodes of an operator together; see NodeTime."""

    operator: str
    weights: bool
    nodes: int
    median_ms: float
    mean_ms: float
    share: float
    multiply_accumulates: int | None


@dataclass(frozen=True)
class LayerProfile:
    """Times of a model on a device.

    `median_ms` and `mean_ms` are of whole runs, `profiled_median_ms` of those with a profiler, or
    where there is none (`measured` 'alone', not 'profiler') of all operators, each run alone; on
    noise as input. `share_without_weights` is the time of operators that multiply with
    no matrix or kernels of weights (pooling, normalisation, Concat, element by element, changes of
    layout).
    """

    model: str
    device: str
    engine: str
    threads: int
    runs: int
    median_ms: float
    mean_ms: float
    profiled_median_ms: float
    share_without_weights: float
    unsteadiness: float
    warnings: tuple[str, ...]
    device_key: str
    operators: tuple[OperatorTime, ...]
    nodes: tuple[NodeTime, ...]
    measured: Literal["profiler", "alone"] = "profiler"

    @property
    def profiler_adds(self) -> float:
        """What the profiler, or to run operators alone, adds to a run, as a share of it."""
        return self.profiled_median_ms / self.median_ms - 1

    def plain(self) -> dict[str, Any]:
        """For JSON; unknown is None."""
        found = {**asdict(self), "profiler_adds": self.profiler_adds}
        for node in found["nodes"]:
            pairs = node.pop("originals")
            node["originals"] = [{"name": name, "operator": kind} for name, kind in pairs]
        return found


def by_operator(nodes: Sequence[NodeTime]) -> tuple[OperatorTime, ...]:
    """The slowest first."""
    groups: dict[str, list[NodeTime]] = {}
    for node in nodes:
        groups.setdefault(node.operator, []).append(node)
    found = [
        OperatorTime(
            operator=operator,
            weights=group[0].weights,
            nodes=len(group),
            median_ms=sum(node.median_ms for node in group),
            mean_ms=sum(node.mean_ms for node in group),
            share=sum(node.share for node in group),
            multiply_accumulates=_total([node.multiply_accumulates for node in group]),
        )
        for operator, group in groups.items()
    ]
    return tuple(sorted(found, key=lambda each: -each.share))


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def originals_text(node: NodeTime) -> str:
    """What a node carries out of the file, in short: "Conv + Relu"."""
    kinds: Mapping[str, None] = dict.fromkeys(kind for _, kind in node.originals)
    return " + ".join(kinds)
