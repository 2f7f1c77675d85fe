"""What routers are worth beside cascades: the published premodel, learned ones, learned deferral.

All members of the ImageNet zoo as they came (no w8a8 of ours), one thread. Splits and the rule are
those of zoo_imagenet.py: the fastest plan not worse than EfficientNet-Lite2 is chosen on `tune`
and replayed on `test`. Routers are trained on the 300 photographs of `fit`, anew for each split;
what they and the stages cost is measured once, in the processes they live in. Means over splits:

    cascade              single members and confidence cascades
    premodel_published   the premodel as published, as it is: there is nothing to choose
    premodel_tap         premodels on tap features; whoever they let in at answers
    premodel_best        premodels on any features
    deferral             cascades with scorers (learned, margin)
    best                 all of them, and premodels with cascades behind them, in one search

Where none of a kind is good enough, its most accurate one stands there. Every input counts; where
the published chain abstains, Lite2 answers. `union` is the share of inputs that some stage of the
published premodel has right, `oracle_*` the cheapest correct member of the zoo (the cheapest one,
where none is), `random_routing_top1` sends inputs at random to stages as often as `premodel_best`.
`best_to_cascade_at_equal_accuracy` is the ratio of their speeds where both lose as much. Prints
one JSON object as its last line; `--store` names a folder where measurements are kept.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import trimtab
from benchmarks._options import DEFAULT_DATA, DataFolder
from benchmarks._routed_split import Material, RouterMs, Split
from benchmarks.zoo import imagenet_job
from benchmarks.zoo_imagenet import Lines
from trimtab.planner.cache.measurements import MeasurementCache
from trimtab.planner.pipeline.job import opened_run
from trimtab.planner.pipeline.planning import PlanningStage
from trimtab.planner.techniques.exit_points.taps import TapPreparation
from trimtab.planner.techniques.routing.plans import RoutedPlans, trainer_of
from trimtab.search.costs.segmented import StageSegments
from trimtab.search.costs.stage import Doubles

RIVAL = "lite2"
#: Groups of stages that are measured together, and those of them that routers are trained for.
GROUPS, ROUTED_GROUPS = 16, 4
#: What a chosen plan may lose on tune: where both curves are looked at (and 0, the rule).
SLACKS = (0.0, 0.0025, 0.005)

Case = tuple[int, bool]


def main(
    data: DataFolder = DEFAULT_DATA,
    store: Annotated[Path | None, typer.Option(help="keep the store here")] = None,
    splits: int = 10,
    workers: int = 2,
) -> None:
    """Measure once, choose on `splits` random splits and on each with tune and test swapped."""
    with tempfile.TemporaryDirectory() as folder:
        home = store or Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        with trimtab.Store.open(home / "trimtab.db") as opened:
            material = prepared(data, home, opened, splits, workers)
    cases = list(itertools.product(range(splits), (False, True)))
    with _pool(workers) as pool:
        found = []
        for one in pool.map(_evaluated, [material] * len(cases), cases):
            found.append(one)
            told = {name: np.round(values, 2).tolist() for name, values in one["chosen"].items()}
            print(f"{len(found)} of {len(cases)}: {told}; best: {one['label']}", flush=True)
    print(json.dumps(summary(found)))


def prepared(data: Path, home: Path, store: trimtab.Store, splits: int, workers: int) -> Material:
    """Everything measured and traced."""
    spec = trimtab.load_spec(
        imagenet_job(
            data,
            home / "classes.txt",
            baseline=RIVAL,
            techniques={"quantisation": [], "routing": True},
            budget={"minutes": 60, "measurements": 10},
        )
    )
    cases = list(itertools.product(range(splits), (False, True)))
    with opened_run(spec, store, Lines()) as run:
        measured = run.measure(run.members())
        plain = Material(spec, measured, run.evaluator.rows)
        with _pool(workers) as pool:
            screened = pool.map(_screened, [plain] * len(cases), cases)
            wanted = Counter(group for groups in screened for group in groups)
        stage = PlanningStage(run.evaluator, measured)
        together = stage.measured_together([g for g, _ in wanted.most_common(GROUPS)])
        groups = [group for group in together if len(group) > 1][:ROUTED_GROUPS]
        screening = stage.selector.screen(spec.together)
        taps = TapPreparation(run.evaluator, screening.data, screening.problem)
        routed = RoutedPlans(run.evaluator, screening, taps)
        sight = routed.features.sources(groups)
        costs = measured_routers(run.evaluator.measurements, routed, sight, groups)
    return replace(plain, sight=sight, costs=costs, together=together, routed_groups=tuple(groups))


def measured_routers(
    cache: MeasurementCache, routed: RoutedPlans, sight: Any, groups: Sequence[tuple[int, ...]]
) -> RouterMs:
    """What one router of each kind takes beside its stages, and one scorer of each."""
    data, trainer = routed.data, trainer_of(routed.screening, sight)
    published = trainer.published(data.members, data.baseline)
    designs = {} if published is None else {"published": published}
    for group in groups:
        for design in trainer.designs(group):
            kind = f"tap {group[0]}" if design.kind == "tap" else design.kind
            designs.setdefault(kind, design)
    routers: dict[str, Doubles] = {}
    scorers: dict[str, Doubles] = {}
    chains: dict[int, StageSegments] = {}
    for name, design in designs.items():
        one = routed.build(design)
        router = one.structure.router
        costs = routed.costs(
            one, [cache.measurement(one.parts, visit, router=router) for visit in (1, 2)]
        )
        if design.router is None:
            scorers[name] = costs.scorer_samples[0]
        else:
            routers[name] = costs.router_samples
        if name.startswith("tap"):
            chains[design.options[0]] = costs.chains[0]
    told = {name: round(float(ms.mean()), 3) for name, ms in {**routers, **scorers}.items()}
    print(f"routers and scorers, ms: {told}")
    return RouterMs(routers, scorers, chains)


def summary(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over all splits."""
    figures: dict[str, Any] = {}
    for name in found[0]["chosen"]:
        speed, points, share = np.mean([one["chosen"][name] for one in found], axis=0)
        figures[name] = {
            "speedup_vs_lite2": float(speed),
            "test_difference_points": float(points),
            "router_share_of_time": float(share),
        }
    for name in found[0]["beside"]:
        values = [one["beside"][name] for one in found]
        if isinstance(values[0], dict):
            figures[name] = {n: float(np.mean([v[n] for v in values])) for n in values[0]}
        else:
            figures[name] = float(np.mean(values))
    cascade, best = (
        np.mean([one[f"{n}_curve"] for one in found], axis=0) for n in ("cascade", "best")
    )
    speed = np.interp(cascade[0, 1], best[::-1, 1], best[::-1, 0])
    figures["best_to_cascade_at_equal_accuracy"] = float(speed / cascade[0, 0])
    return {**figures, "evaluations": len(found)}


def _screened(material: Material, case: Case) -> list[tuple[int, ...]]:
    return material.selector(case).screen(material.spec.together).groups


def _evaluated(material: Material, case: Case) -> dict[str, Any]:
    return Split(material, material.selector(case)).figures(SLACKS)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


if __name__ == "__main__":
    typer.run(main)
