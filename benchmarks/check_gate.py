"""Does `trimtab check` stay silent about what did not change, and catch what did?

Checks beside a program that comes and goes (benchmarks/_neighbour.py), each against the same
shipped bundle: of the same model (`same`), of one that takes about 10 % longer (`slower`: its
chain of convolutions has more links, and nothing else differs), and of one whose head was moved at
random until it is 1 point worse on the 2,000 test images (`worse`: another one in each run).

    python -m benchmarks.check_gate --folder /tmp/gate             # 600 checks
    python -m benchmarks.check_gate --folder /tmp/gate --runs 20   # 60 checks

What is in the folder is not run again: the same command goes on after an interruption. Prints one
JSON object as its last line:

    false_alarms  share of the checks of the same model that failed, by any figure
    caught  the lesser of `caught_slower` (by latency) and `caught_worse` (by accuracy)
    true_slowdown  how much longer the slower model takes, on the machine before the neighbour came
    changed_share  of the 2,000 answers that differ in a `worse` model, the median
    seconds  a check took, the median of each kind
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer
import yaml
from onnx import helper, numpy_helper

from benchmarks._neighbour import neighbour
from benchmarks._options import DEFAULT_DATA, SUPPORT, NoData
from trimtab.db import Store
from trimtab.planner.bundles.archive import BundleParts, write_bundle
from trimtab.planner.gate.findings import CheckReport
from trimtab.planner.gate.gate import check
from trimtab.planner.gate.judgement import SlowerTest
from trimtab.planner.gate.turns import take_turns
from trimtab.planner.jobs.dataset import load_dataset
from trimtab.planner.jobs.journal import Journal, NullListener
from trimtab.planner.specification.job import JobSpec, load_spec
from trimtab.profilers import LocalDevice
from trimtab.variants import inspect_model, make_variant
from trimtab_runtime.definitions.plan import (
    OperatingPoint,
    PlanDefinition,
    RuntimeOptions,
    Stage,
    Structure,
)

sys.path.insert(0, str(SUPPORT))
from sample_models import (  # of the folder above
    CLASSES,
    INPUT,
    Net,
    activations,
    make_net,
    onnx_model,
    texture_images,
    write_photos,
)

KINDS = ("same", "slower", "worse")
#: Test images of the check of accuracy, and of the checks of latency.
_ACCURATE, _TIMED = 2000, 160
#: Links of the chain in the models: of the shipped one, and of the slower one.
_LINKS, _SLOWER = 40, 44
_WIDTH, _POINTS, _SEED = 16, 1.0, 7


def main(
    runs: Annotated[int, typer.Option(min=1, help="checks of each kind")] = 200,
    folder: Annotated[
        Path | None, typer.Option(help="keep models and results here, and go on with them")
    ] = None,
    _data: NoData = DEFAULT_DATA,
) -> None:
    """Run the checks that are missing, print the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench((folder or Path(scratch)).absolute())
        bench.prepare()
        results = bench.results()
        with neighbour(sum(map(len, results.values()))):
            for run in range(runs):
                for kind in KINDS:
                    if run >= len(results[kind]):
                        results[kind].append(bench.run(kind, run))
        print(json.dumps(figures(bench, {k: found[:runs] for k, found in results.items()})))


@dataclass(frozen=True)
class Bench:
    """Photographs, specifications, the shipped bundles, and what came out, in a folder."""

    folder: Path

    def prepare(self) -> None:
        """Make what is missing, and measure how much slower the slower model is."""
        for name, images in (("accurate", _ACCURATE), ("timed", _TIMED)):
            place = self.folder / name
            if not (place / "plan.pyz").exists():
                write_photos(place / "photos", images + 40, _SEED)
                links = 0 if name == "accurate" else _LINKS
                write_model(place / "net.onnx", make_net(_WIDTH), links)
                write_specification(place, images)
                write_shipped(place)
        truth = self.folder / "truth.json"
        if not truth.exists():
            truth.write_text(json.dumps({"true_slowdown": self._true_slowdown()}), "utf-8")

    def results(self) -> dict[str, list[dict[str, Any]]]:
        """What was run before."""
        found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
        path = self.folder / "results.jsonl"
        for line in path.read_text("utf-8").splitlines() if path.exists() else ():
            told = json.loads(line)
            found[told["kind"]].append(told)
        return found

    def run(self, kind: str, number: int) -> dict[str, Any]:
        """One check, added to the results."""
        place = self.folder / ("accurate" if kind == "worse" else "timed")
        changed = 0
        if kind == "worse":
            net, changed = worse_net(tested_images(load_spec(place / "job.yaml")), number)
            write_model(place / "net.onnx", net, 0)
        else:
            links = _SLOWER if kind == "slower" else _LINKS
            write_model(place / "net.onnx", make_net(_WIDTH), links)
        with Store.open(self.folder / "store" / "trimtab.db") as store:
            report = check(load_spec(place / "job.yaml"), str(place / "plan.pyz"), store)
        told = {"kind": kind, "changed": changed, **summary(report)}
        with (self.folder / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")
        print(f"{kind} {number + 1}: {told['verdicts']} in {told['seconds']:.1f} s", flush=True)
        return told

    def _true_slowdown(self) -> float:
        """By many turns, while nobody else works."""
        place = self.folder / "timed"
        shipped = place / "plan.pyz"
        write_model(place / "net.onnx", make_net(_WIDTH), _SLOWER)
        slower = write_shipped(place, "slower.pyz")
        images = sorted((place / "photos").rglob("*.png"))
        never = SlowerTest(10.0, looks=4, alpha=0.0)
        with (
            Store.open(self.folder / "store" / "trimtab.db") as store,
            store.lease("benchmark", holder="benchmark") as lease,
        ):
            journal, device = Journal(store, None, NullListener(), lease), LocalDevice()
            found = (
                take_turns(device, (shipped, slower), images, 1.0, never, journal)
                for _ in range(4)
            )
            logs = [log for turns in found for log in turns.logs]
        return float(np.exp(np.median(logs)) - 1)


def write_model(path: Path, net: Net, links: int) -> None:
    """The network, and beside it a chain of convolutions that share their weights, which costs
    time and changes no answer."""
    model = onnx_model(net=net)
    if links:
        chain(model.graph, links)
    path.write_bytes(model.SerializeToString(deterministic=True))


def chain(graph: onnx.GraphProto, links: int) -> None:
    """Add a chain to a graph whose last node gives the logits."""
    draw = np.random.default_rng(0)
    graph.initializer.extend(
        [
            numpy_helper.from_array(draw.normal(0, 0.1, shape).astype(np.float32), name)
            for name, shape in (("enter", (8, 3, 3, 3)), ("link", (8, 8, 3, 3)))
        ]
        + [numpy_helper.from_array(np.zeros(1, np.float32), "nothing")]
    )
    same = {"pads": [1, 1, 1, 1]}
    nodes = [helper.make_node("Conv", ["image", "enter"], ["link0"], **same)]
    for number in range(links):
        nodes.append(
            helper.make_node("Conv", [f"link{number}", "link"], [f"link{number + 1}"], **same)
        )
    last = graph.node[-1]
    last.output[0] = "plain"
    nodes += [
        helper.make_node("ReduceMean", [f"link{links}"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["none"]),
        helper.make_node("Add", ["plain", "none"], ["logits"]),
    ]
    graph.node.extend(nodes)


def write_specification(place: Path, tested: int) -> None:
    """The job of a folder."""
    spec = {
        "name": place.name,
        "models": [{"path": "net.onnx", "input": INPUT}],
        "workload": {"images": "photos", "splits": {"fit": 20, "tune": 20, "test": tested}},
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
    }
    (place / "job.yaml").write_text(yaml.safe_dump(spec), "utf-8")


def write_shipped(place: Path, name: str = "plan.pyz") -> Path:
    """The bundle of a folder's model."""
    model = place / "net.onnx"
    variant = make_variant(model, inspect_model(model), INPUT, {}, "net")
    stage = Stage(variant.sha256, RuntimeOptions("onnxruntime"))
    parts = BundleParts(
        name="net 1t",
        definition=PlanDefinition(Structure("single", (stage,))),
        points=[OperatingPoint()],
        variants={variant.sha256: variant},
        models={variant.sha256: model},
        labels=[f"class{label}" for label in range(CLASSES)],
        images=sorted((place / "photos").rglob("*.png"))[:8],
        fingerprint=LocalDevice().fingerprint(),
    )
    return write_bundle(parts, place / name)


def tested_images(spec: JobSpec) -> tuple[Any, Any]:
    """The test images of the check of accuracy, and their labels."""
    workload, splits = load_dataset(spec)
    numbers = [int(workload.items[index].path.stem) for index in splits.test]
    images, labels = texture_images(_ACCURATE + 40, _SEED)
    return images[numbers], labels[numbers]


def worse_net(told: tuple[Any, Any], seed: int) -> tuple[Net, int]:
    """The network with its head moved at random until it is a point worse, and how many answers
    that changes."""
    images, labels = told
    net = make_net(_WIDTH)
    pooled = activations(net, images)[2]
    before = (pooled @ net.head.T + net.head_bias).argmax(1)
    wanted = round(_POINTS / 100 * len(labels))
    for attempt in moves(net, seed):
        after = (pooled @ attempt.head.T + attempt.head_bias).argmax(1)
        lost = int((before == labels).sum() - (after == labels).sum())
        if lost >= wanted:
            return attempt, int((before != after).sum())
    raise AssertionError("no move loses a point")


def moves(net: Net, seed: int) -> Iterator[Net]:
    """Heads further and further away."""
    draw = np.random.default_rng(seed)
    by = draw.normal(0, 1, net.head.shape) * np.abs(net.head).mean()
    for step in range(1, 2000):
        head = (net.head + 0.002 * step * by).astype(np.float32)
        yield replace(net, head=head)


def summary(report: CheckReport) -> dict[str, Any]:
    """What a result keeps."""
    latency = next(found for found in report.findings if found.name == "latency")
    return {
        "verdicts": {found.name: found.verdict for found in report.findings},
        "latency": dict(latency.details),
        "seconds": report.seconds,
        "at": time.time(),
    }


def figures(bench: Bench, results: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """What is to be told."""

    def share(kind: str, figure: str | None) -> float:
        alarms = [
            any(
                verdict == "worse" and figure in (None, name)
                for name, verdict in told["verdicts"].items()
            )
            for told in results[kind]
        ]
        return float(np.mean(alarms))

    caught = {"slower": share("slower", "latency"), "worse": share("worse", "accuracy")}
    truth = json.loads((bench.folder / "truth.json").read_text("utf-8"))
    return {
        "false_alarms": share("same", None),
        "caught": min(caught.values()),
        "caught_slower": caught["slower"],
        "caught_worse": caught["worse"],
        **truth,
        "changed_share": float(np.median([t["changed"] for t in results["worse"]])) / _ACCURATE,
        "seconds": {k: float(np.median([t["seconds"] for t in v])) for k, v in results.items()},
        "runs": {kind: len(found) for kind, found in results.items()},
    }


if __name__ == "__main__":
    typer.run(main)
