"""How many plans does the search evaluate a second?

Ten random members over 500 inputs of 1,000 classes. Distinct random plans (structure of two or
three stages, rule, thresholds drawn at random for each structure anew, every combination of them
a plan) are evaluated through `trimtab.search.plans.cascades.Sweeps.points`, which the search
itself calls: guarded and replayed top-1, the share of inputs that reaches each stage, mean
latency. One core. A sample of them is checked against a plain loop over inputs, whose speed is
measured in turns with it. The same for frames of a plan that remembers (stateful_replay.py).
Prints one JSON object as its last line.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.stateful_replay import stateful_figures
from trimtab.search.costs.stage import StageCost
from trimtab.search.estimates.guard import Guard
from trimtab.search.estimates.targets import Targets
from trimtab.search.objectives.objective import Objective
from trimtab.search.plans.cascades import Points, Sweeps
from trimtab.search.plans.option import StageOption
from trimtab.search.plans.problem import Problem
from trimtab_runtime.definitions.plan import RULES, InputFormat, RuntimeOptions, Stage
from trimtab_runtime.plans.routing import combine, decide

MEMBERS, INPUTS, CLASSES = 10, 500, 1000
_SAMPLE = 12  # plans of a turn that are checked


@dataclass(frozen=True)
class Drawn:
    """A structure with thresholds for each stage but the last; every combination is a plan."""

    stages: tuple[int, ...]
    rule: str
    thresholds: Sequence[NDArray[np.float64]]


def main(
    turns: Annotated[int, typer.Option(help="rounds; medians of them are told")] = 7,
) -> None:
    """Evaluate, check, print."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    generator = np.random.default_rng(0)
    problem, labels = random_problem(generator)
    ours, plain, total = [], [], 0
    for _ in range(turns):
        drawn = list(random_plans(problem, generator))
        sweeps = Sweeps(problem)  # nothing is remembered from the turn before
        start = time.perf_counter()
        found = [sweeps.points(d.stages, d.rule, d.thresholds) for d in drawn]
        elapsed = time.perf_counter() - start
        count = sum(len(points.thresholds) for points in found)
        ours.append(count / elapsed)
        total += count
        plain.append(checked(problem, labels, drawn, found, generator))
    speed, reference = float(np.median(ours)), float(np.median(plain))
    print(
        json.dumps(
            {
                "plans_per_s": speed,
                "plain_plans_per_s": reference,
                "ratio": speed / reference,
                "plans": total,
                "checked": turns * _SAMPLE,
                **stateful_figures(turns),
            }
        )
    )


def random_problem(generator: np.random.Generator) -> tuple[Problem, NDArray[np.int64]]:
    """Members of growing accuracy and latency."""
    labels = generator.integers(CLASSES, size=INPUTS)
    options = []
    for member in range(MEMBERS):
        logits = generator.normal(size=(INPUTS, CLASSES)).astype(np.float32)
        logits[np.arange(INPUTS), labels] += generator.normal(3.0 + 0.2 * member, 2.0, INPUTS)
        probabilities = np.exp(logits * 1.5)
        probabilities /= probabilities.sum(1, keepdims=True)
        times = {
            f"{context}_{part}_ms": factor * generator.gamma(20, mean / 20, 200)
            for context, factor in (("hot", 1.0), ("beside", 1.2))
            for part, mean in (("resize", 1.0), ("tensor", 0.3), ("inference", 2.0 + member))
        }
        fmt = InputFormat((160 + 8 * (member // 2),) * 2)
        cost = StageCost(fmt, RuntimeOptions("onnxruntime"), {"load_ms": 1.0}, times, 1.0)
        stage = Stage(str(member), RuntimeOptions("onnxruntime"))
        options.append(StageOption(str(member), stage, cost, probabilities))
    opinion = np.mean([option.probabilities for option in options], axis=0, dtype=np.float32)
    guard = Guard(Targets(labels, None, opinion), options[-1].probabilities)
    objectives = [Objective("top1"), Objective("latency_mean_ms")]
    return Problem(options, np.arange(INPUTS), guard, ["top1"], objectives), labels


def random_plans(problem: Problem, generator: np.random.Generator) -> Iterator[Drawn]:
    """Every structure under both rules, with thresholds of its own: 200 for two stages, 45 a
    stage for three."""
    for count, values in ((2, 200), (3, 45)):
        for stages in itertools.combinations(range(len(problem.options)), count):
            for rule in RULES:
                drawn = [np.sort(generator.random(values)) for _ in range(count - 1)]
                yield Drawn(stages, rule, drawn)


def checked(
    problem: Problem,
    labels: NDArray[np.int64],
    drawn: Sequence[Drawn],
    found: Sequence[Points],
    generator: np.random.Generator,
) -> float:
    """Plans a second of the plain loop; raises where it finds other figures."""
    elapsed = 0.0
    for _ in range(_SAMPLE):
        number = int(generator.integers(len(drawn)))
        points = found[number]
        point = int(generator.integers(len(points.thresholds)))
        start = time.perf_counter()
        answers, reach = plain_replay(problem, drawn[number], points.thresholds[point])
        elapsed += time.perf_counter() - start
        mean_ms = plain_latency(problem, drawn[number].stages, reach)
        found_quality, correct = points.quality["top1"], answers == labels
        np.testing.assert_allclose(found_quality.replayed[point], correct.mean(), atol=1e-6)
        expected = plain_guarded(problem, labels, answers)
        np.testing.assert_allclose(found_quality.guarded[point], expected, atol=1e-5)
        np.testing.assert_allclose(points.reach[point], reach, atol=1e-12)
        np.testing.assert_allclose(points.latency_mean_ms[point], mean_ms, rtol=1e-9)
    return _SAMPLE / elapsed


def plain_replay(
    problem: Problem, plan: Drawn, thresholds: NDArray[np.float64]
) -> tuple[NDArray[np.int64], list[float]]:
    """Answers (inputs,), and the share of inputs that reaches each stage: input by input."""
    answers, reached = np.zeros(INPUTS, np.int64), [0] * len(plan.stages)
    for row in range(INPUTS):
        total = None
        for position, stage in enumerate(plan.stages):
            reached[position] += 1
            total = combine(total, problem.options[stage].probabilities[row], position, plan.rule)
            answers[row], confidence = decide(total)
            last = position == len(plan.stages) - 1
            if last or confidence >= thresholds[position]:
                break
    return answers, [count / INPUTS for count in reached]


def plain_guarded(
    problem: Problem, labels: NDArray[np.int64], answers: NDArray[np.int64]
) -> float:
    """The guarded top-1 (search/estimates/guard.py) of answers, the last member being the
    baseline."""
    opinion = np.mean([option.probabilities for option in problem.options], axis=0)
    base, rows = problem.options[-1].probabilities.argmax(1), np.arange(INPUTS)
    credit = opinion[rows, answers] - opinion[rows, base]
    gain = (answers == labels).astype(float) - (base == labels)
    cautious = credit.mean() - credit.std() / np.sqrt(INPUTS)
    possible = gain.mean() + 1.96 * gain.std() / np.sqrt(INPUTS)
    return float((base == labels).mean() + min(cautious, possible))


def plain_latency(problem: Problem, stages: Sequence[int], reach: Sequence[float]) -> float:
    """Mean milliseconds, from the raw samples: what two stages share is paid once."""
    costs = [problem.options[stage].cost for stage in stages]

    def mean(position: int, context: str, part: str) -> float:
        return float(costs[position].samples[f"{context}_{part}_ms"].mean())

    total = 0.0
    for context, share in (("hot", 1 - reach[1]), ("beside", reach[1])):
        total += share * sum(mean(0, context, part) for part in ("resize", "tensor", "inference"))
    for position in range(1, len(stages)):
        shared = any(
            costs[position].format == costs[earlier].format for earlier in range(position)
        )
        parts = ("inference",) if shared else ("resize", "tensor", "inference")
        total += reach[position] * sum(mean(position, "beside", part) for part in parts)
    return total


if __name__ == "__main__":
    typer.run(main)
