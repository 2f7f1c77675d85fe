"""Steps on a Ray cluster of three nodes on this machine: the same bytes, no step lost to nodes
that die, and how busy scheduling keeps eight simulated CPUs with steps that sleep. No speed of
arithmetic is claimed: the nodes share one machine. Prints one JSON object as its last line:

    byte_equal     1 where a cluster makes the files that this machine makes
    nodes_killed   nodes that died in the middle, while `steps_meanwhile` were asked for
    tasks_lost     steps that did not come back
    efficiency     the ideal time of steps that sleep a second on eight CPUs, by the time they took
    joined_s       seconds from joining a cluster that runs to the first step

    python -m benchmarks.cluster [--kills 10]
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import _sleeping
from benchmarks._options import ROOT, SUPPORT, NoData
from trimtab.variants import inspect_model, make_variant, quantisation_work
from trimtab.variants.execution import Executor, Here, Work, executor_on

_BYTES = 150 * 2**20
_STEPS, _SECONDS = 64, 1.0


def _quantising(folder: Path, place: Path, count: int) -> list[Work]:
    """Steps that quantise small networks, each into a folder of its own below `place`."""
    from sample_models import INPUT, write_onnx, write_photos

    images = write_photos(folder / "photos", 24)
    works = []
    for number in range(count):
        source, into = folder / f"net{number}.onnx", place / str(number)
        into.mkdir(parents=True)
        write_onnx(source, width=4 + number)
        variant = make_variant(source, inspect_model(source), INPUT, {}, source.stem)
        works.append(quantisation_work("w8a8", source, variant, images, into / "made.onnx"))
    return works


def _made(executor: Executor, works: list[Work]) -> list[bytes]:
    ended = dict(executor.run(works))
    return [next(works[number].folder.iterdir()).read_bytes() for number in sorted(ended)]


def _killed(nodes: Any, executor_address: str, folder: Path, kills: int) -> tuple[int, int]:
    """Steps that did not come back, of as many as there were, while nodes die and others join."""
    lost = steps = 0
    for number in range(kills):
        doomed = nodes.add_node(num_cpus=2, object_store_memory=_BYTES)
        with executor_on(executor_address) as executor:
            works = _quantising(folder, folder / f"killed{number}", 6)
            came = []
            for place, told in executor.run(works):
                came.append(isinstance(told, dict) and place)
                if len(came) == 1:
                    nodes.remove_node(doomed, allow_graceful=False)
        steps += len(works)
        lost += len(works) - len({place for place in came if place is not False})
    return lost, steps


def _efficiency(executor: Executor, folder: Path) -> float:
    """The ideal time of sleeping steps on eight CPUs, by the time that they take."""
    work = Work(_sleeping.sleep, "a step that sleeps", _SECONDS, (), folder)
    list(executor.run([replace(work, request=0.0)] * 16))  # processes are there
    began = time.monotonic()
    ended = list(executor.run([work] * _STEPS))
    assert len(ended) == _STEPS
    return _STEPS * _SECONDS / 8 / (time.monotonic() - began)


def main(
    kills: Annotated[int, typer.Option(help="nodes that are killed")] = 10, data: NoData = Path()
) -> None:
    """Print one JSON object."""
    from ray.cluster_utils import Cluster

    sys.path.insert(0, str(SUPPORT))
    known = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    os.environ["PYTHONPATH"] = os.pathsep.join(known)  # which nodes take over
    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": _BYTES}
    )
    for _ in range(2):
        nodes.add_node(num_cpus=3, object_store_memory=_BYTES)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        alone = _made(Here(), _quantising(folder, folder / "here", 6))
        began = time.monotonic()
        with executor_on(nodes.address) as executor:
            joined_s = time.monotonic() - began
            equal = _made(executor, _quantising(folder, folder / "there", 6)) == alone
            efficiency = _efficiency(executor, folder)
        lost, steps = _killed(nodes, nodes.address, folder, kills)
    nodes.shutdown()
    told = {
        "byte_equal": int(equal),
        "nodes_killed": kills,
        "steps_meanwhile": steps,
        "tasks_lost": lost,
        "efficiency": round(efficiency, 3),
        "joined_s": round(joined_s, 1),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    typer.run(main)
