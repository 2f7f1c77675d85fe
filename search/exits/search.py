"""Search for taps, kinds, capacities and thresholds: Optuna proposes, exact replay evaluates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import optuna

from trimtab.search.exits.design import Early, ExitDesign, ExitPoint, TapChoice, Thresholds
from trimtab.search.objectives.pareto import non_dominated, spread
from trimtab_runtime.definitions.exits import Centres, ExitThresholds, Memory, Prior

#: Operating points of a design that are tried around one that was found good.
_NEAR = (0.6, 0.75, 0.85, 0.93, 1.0, 1.07, 1.15, 1.3, 1.6)
#: Running priors: of stretches of few classes, of frequencies that last, between, and none. Few
#: kinds to choose from, for each is a chance to be lucky on tune.
PRIORS = {
    "none": None,
    "stretches": Prior(0.88, 0.15, 1.0, 1.0),
    "stretches, early only": Prior(0.88, 0.15, 1.0, 0.0),
    "between": Prior(0.95, 0.2, 0.85, 0.7),
    "lasting": Prior(0.985, 0.3, 0.7, 0.5),
}


@dataclass(frozen=True)
class Base:
    """What early ends are added to: options in the order of a cascade, how they are combined, and
    its thresholds."""

    options: tuple[int, ...]
    rule: str = "last"
    thresholds: tuple[float, ...] = ()


def baseline_designs(early: Early, option: int) -> list[ExitDesign]:
    """What early plans must be compared with, on one option: the last answer held while the frame
    looks alike; the answers of recent frames that look alike; the memory exactly as published, at
    every tap (Li et al., ACM MM 2021)."""
    none: tuple[tuple[TapChoice, ...], ...] = ((),)
    found = [
        ExitDesign((option,), "last", none, Memory(thumbnails=1), label="hold last"),
        ExitDesign((option,), "last", none, Memory(thumbnails=32), label="thumbnails only"),
    ]
    if option in early.tapped:
        taps = tuple((tap, ("centres",)) for tap in range(len(early.tapped[option].names)))
        memory = Memory(centres=Centres("ac", window=100, update="exits"))
        found.append(ExitDesign((option,), "last", (taps,), memory, True, "memory as published"))
    return found


def search_base(
    early: Early, base: Base, heads: bool, memory: bool, least: float, trials: int, seed: int
) -> list[ExitPoint]:
    """Everything that was tried on one base, in order. `heads` and `memory` say what may be used;
    NSGA-II minimises the mean latency and what is lost of the first quality metric, of which
    `least` should be kept."""
    study = optuna.create_study(
        directions=["minimize", "maximize"],
        sampler=optuna.samplers.NSGAIISampler(seed=seed, population_size=40),
    )
    for start in _starts(early, base, heads, memory):
        study.enqueue_trial(start)
    quality, tried = early.problem.metrics[0], []
    for _ in range(trials):
        trial = study.ask()
        design = _design(trial, early, base, heads, memory)
        if not _does_anything(design):
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        worth = early.worth(design, Thresholds(base.thresholds, _exits(trial, design)))
        study.tell(trial, [worth.latency_mean_ms, worth.guarded[quality]])
        tried.append(worth)
    return tried + _polished(early, tried, quality, least)


def _polished(
    early: Early, tried: Sequence[ExitPoint], quality: str, least: float
) -> list[ExitPoint]:
    """The thresholds of the best few moved, twice: exits are many, trials few."""
    found: list[ExitPoint] = []
    for _ in range(2):
        every = [*tried, *found]
        best = [points[0] for points in best_designs(every, quality, least, 2)]
        found += [worth for worth in refined(early, best) if worth not in every]
    return found


def tune_baseline(early: Early, design: ExitDesign) -> list[ExitPoint]:
    """A baseline design at a grid of thresholds of its one kind."""
    (kind,) = design.kinds
    grid = {
        "thumbnails": np.geomspace(1.0, 60.0, 24),
        "centres": np.geomspace(0.002, 1.0, 24),
    }[kind]
    return [
        early.worth(design, Thresholds(exits=ExitThresholds(**{kind: float(value)})))
        for value in grid
    ]


def refined(early: Early, worths: Sequence[ExitPoint]) -> list[ExitPoint]:
    """More operating points of one design, around those given: each threshold moved alone."""
    found = list(worths)
    for worth in worths:
        for kind in worth.design.kinds:
            value = getattr(worth.thresholds.exits, kind)
            for factor in _NEAR if value is not None else ():
                moved = _moved(worth.design, kind, value, factor)
                exits = replace(worth.thresholds.exits, **{kind: moved})
                found.append(early.worth(worth.design, replace(worth.thresholds, exits=exits)))
    return found


def _moved(design: ExitDesign, kind: str, value: float, factor: float) -> float:
    """Larger factors let more frames exit. Shares move on the scale of their distance to 1."""
    if kind == "thumbnails":
        return value * factor
    centres = design.memory.centres
    if kind == "centres" and centres is not None and centres.measure == "ac":
        return value / factor
    return 1.0 - min(1.0, (1.0 - value) * factor)


def best_designs(
    tried: Iterable[ExitPoint], quality: str, least: float, count: int
) -> list[list[ExitPoint]]:
    """The designs worth building, `count` at most, each with its own best operating points: those
    of the fastest plans whose quality, conservatively estimated, is `least` or better, then those
    that span the front of latency and quality."""
    all_of = list(tried)
    if not all_of:
        return []
    axes = np.array([[w.latency_mean_ms, -w.guarded[quality]] for w in all_of])
    good = [i for i in np.argsort(axes[:, 0]) if all_of[i].guarded[quality] >= least]
    front = np.flatnonzero(non_dominated(axes))
    spanning = [front[i] for i in spread(axes[front], count)]
    order = dict.fromkeys(all_of[i].design for i in [*good[: 4 * count], *spanning])
    return [
        pareto([w for w in all_of if w.design == design], quality, least, 4)
        for design in list(order)[:count]
    ]


def pareto(worths: Sequence[ExitPoint], quality: str, least: float, count: int) -> list[ExitPoint]:
    """At most `count` of those that no other one beats in latency and estimated quality, the
    fastest whose quality is `least` or better first."""
    axes = np.array([[w.latency_mean_ms, -w.guarded[quality]] for w in worths])
    kept = [int(i) for i in np.flatnonzero(non_dominated(axes))]
    good = [i for i in kept if worths[i].guarded[quality] >= least]
    first = sorted(good, key=lambda i: float(axes[i, 0]))[:1]
    rest = [i for i in kept if i not in first]
    return [
        *(worths[i] for i in first),
        *(worths[rest[i]] for i in spread(axes[rest], count - len(first))),
    ]


def _starts(early: Early, base: Base, heads: bool, memory: bool) -> list[dict[str, object]]:
    """Plans that are good on some stream: frames that repeat, objects that return, few classes
    at a time, none of these."""
    found: list[dict[str, object]] = []
    priors = PRIORS if memory else ("none",)
    for chosen in _tap_sets(early, base) if heads else ():
        for prior in priors:
            for at in (0.8, 0.93):
                found.append({**chosen, "heads": True, "prior": prior, "heads_nines": _nines(at)})
    for entries in (1, 8, 32) if memory else ():
        for at in (4.0, 8.0, 14.0, 20.0, 28.0):
            found.append({"thumbnails": entries, "thumbnails_at": at})
    if memory and heads:
        for chosen in _tap_sets(early, base):
            for at in (8.0, 20.0):
                both = {"thumbnails": 8, "thumbnails_at": at, "heads": True}
                found.append({**chosen, **both, "heads_nines": _nines(0.95)})
    defaults: dict[str, object] = {"heads": False, "prior": "none", "thumbnails": 0}
    defaults |= {"instances": 0, "centres": "none"}
    return [{**defaults, **start} for start in found]


def _tap_sets(early: Early, base: Base) -> list[dict[str, object]]:
    """Some taps of each stage, spread evenly: two, three, and all."""
    counts = {
        i: len(early.tapped[o].names) for i, o in enumerate(base.options) if o in early.tapped
    }
    sets = []
    for wanted in (2, 3, 99):
        chosen: dict[str, object] = {}
        for number, count in counts.items():
            step = (count + 1) / (min(wanted, count) + 1)
            kept = {round(step * (1 + place)) - 1 for place in range(min(wanted, count))}
            chosen |= {f"tap_{number}_{tap}": tap in kept for tap in range(count)}
        if chosen and chosen not in sets:
            sets.append(chosen)
    return sets


def _nines(share: float) -> float:
    return -math.log10(1.0 - share)


def _design(
    trial: optuna.Trial, early: Early, base: Base, heads: bool, memory: bool
) -> ExitDesign:
    kinds: list[str] = []
    thumbnails = instances = 0
    centres = prior = None
    has_taps = any(option in early.tapped for option in base.options)
    if memory:
        thumbnails = trial.suggest_categorical("thumbnails", [0, 1, 8, 32])
        prior = PRIORS[trial.suggest_categorical("prior", list(PRIORS))]
    if memory and has_taps:
        instances = trial.suggest_categorical("instances", [0, 16, 64])
        measure = trial.suggest_categorical("centres", ["none", "ac", "probability"])
        if measure != "none":
            window = trial.suggest_categorical("window", [0, 30, 100])
            update = trial.suggest_categorical("update", ["none", "exits", "all"])
            centres = Centres(measure, window, update=update)
        kinds += ["instances"] * bool(instances) + ["centres"] * (centres is not None)
    if heads and has_taps and trial.suggest_categorical("heads", [False, True]):
        kinds.append("heads")
    taps = tuple(
        _taps(trial, early, number, option, tuple(kinds))
        for number, option in enumerate(base.options)
    )
    if not any(taps):
        instances, centres = 0, None
    return ExitDesign(base.options, base.rule, taps, Memory(thumbnails, instances, centres, prior))


def _does_anything(design: ExitDesign) -> bool:
    """Whether an answer can differ from that of the base, or come earlier."""
    prior = design.memory.prior
    return bool(design.kinds) or (prior is not None and prior.final > 0.0)


def _taps(
    trial: optuna.Trial, early: Early, number: int, option: int, kinds: tuple[str, ...]
) -> tuple[TapChoice, ...]:
    if not kinds or option not in early.tapped:
        return ()
    return tuple(
        (tap, kinds)
        for tap in range(len(early.tapped[option].names))
        if trial.suggest_categorical(f"tap_{number}_{tap}", [False, True])
    )


def _exits(trial: optuna.Trial, design: ExitDesign) -> ExitThresholds:
    def share(name: str, low: float, high: float) -> float:
        """Even on the scale of the distance to 1."""
        nines = trial.suggest_float(f"{name}_nines", _nines(low), _nines(high))
        return float(1.0 - 10.0**-nines)

    ask: dict[str, Callable[[], float]] = {
        "thumbnails": lambda: trial.suggest_float("thumbnails_at", 1.0, 60.0, log=True),
        "instances": lambda: share("instances", 0.5, 0.999),
        "centres": lambda: (
            trial.suggest_float("ac_at", 0.002, 1.0, log=True)
            if design.memory.centres and design.memory.centres.measure == "ac"
            else share("centres", 0.3, 0.9999)
        ),
        "heads": lambda: share("heads", 0.3, 0.9999),
    }
    return ExitThresholds(**{kind: ask[kind]() for kind in design.kinds})
