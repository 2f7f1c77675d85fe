"""The search for early exits, on streams where it is known what pays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sample_early import (
    SEGMENTS_MS,
    WHOLE_MS,
    dwelling,
    independent,
    make_early,
    plain_quality,
    stretches,
)

from trimtab.search.exits.design import Early, ExitDesign, ExitPoint, Thresholds
from trimtab.search.exits.search import (
    Base,
    baseline_designs,
    best_designs,
    pareto,
    refined,
    search_base,
    tune_baseline,
)
from trimtab_runtime.definitions.exits import NO_MEMORY, Centres, ExitThresholds, Memory, Prior

TRIALS = 120
BASE = Base((0,))


def searched(
    early: Early, heads: bool = True, memory: bool = True, seed: int = 0
) -> list[ExitPoint]:
    return search_base(early, BASE, heads, memory, plain_quality(early), TRIALS, seed)


def fastest(early: Early, tried: list[ExitPoint]) -> ExitPoint:
    """The fastest without a loss."""
    good = [worth for worth in tried if worth.guarded["top1"] >= plain_quality(early)]
    return min(good, key=lambda worth: worth.latency_mean_ms)


# ---- what pays is found ------------------------------------------------------------------------


def test_frames_that_repeat_are_known_by_their_thumbnails() -> None:
    early = make_early(dwelling(objects=20, stay=15))
    tried = searched(early)
    best = fastest(early, tried)
    assert best.design.memory.thumbnails
    assert best.replayed["top1"] >= plain_quality(early)
    assert best.latency_mean_ms < WHOLE_MS / 8
    assert best.reach[1] < 0.12, "one frame in 15 is new, and some that are wanted again"
    found = best_designs(tried, "top1", plain_quality(early), 3)
    assert found[0][0].design.memory.thumbnails
    assert found[0][0].latency_mean_ms == best.latency_mean_ms


def test_classes_that_come_in_stretches_make_a_prior_pay() -> None:
    early = make_early(stretches(count=6, length=50), skills=(1.0, 1.5, 3.0))
    alone = fastest(early, [*searched(early, memory=False), never(early)])
    together = fastest(early, searched(early))
    assert together.design.memory.prior is not None
    assert together.latency_mean_ms < 0.7 * alone.latency_mean_ms
    without = dataclasses.replace(
        together.design, memory=dataclasses.replace(together.design.memory, prior=None)
    )
    assert early.worth(without, together.thresholds).latency_mean_ms > together.latency_mean_ms


def never(early: Early) -> ExitPoint:
    """Heads that never answer: what must be paid for nothing."""
    used = ExitDesign((0,), "last", (((0, ("heads",)),),), NO_MEMORY)
    return early.worth(used, Thresholds(exits=ExitThresholds(heads=1.01)))


@pytest.mark.parametrize("seed", range(2))
def test_where_nothing_pays_nothing_is_faster_than_the_network(seed: int) -> None:
    """Frames of one kind each, and heads that know nothing."""
    early = make_early(independent(seed=seed), skills=(0.0, 0.0, 6.0), seed=seed)
    least = plain_quality(early)
    tried = searched(early, seed=seed)
    good = [worth for worth in tried if worth.guarded["top1"] >= least]
    assert all(worth.latency_mean_ms >= WHOLE_MS for worth in good)
    for worths in best_designs(tried, "top1", least, 4):
        for worth in worths:
            assert worth.latency_mean_ms >= WHOLE_MS or worth.guarded["top1"] < least


def test_what_may_not_be_used_is_not() -> None:
    early = make_early(dwelling())
    for worth in searched(early, memory=False):
        assert worth.design.is_static and worth.design.kinds == ("heads",)
    kinds = set()
    for worth in searched(early, heads=False):
        kinds |= set(worth.design.kinds)
    assert kinds == {"thumbnails", "instances", "centres"}


def test_an_option_without_taps_is_offered_what_needs_none() -> None:
    early = dataclasses.replace(make_early(dwelling()), tapped={})
    assert searched(early, memory=False) == []
    tried = searched(early)
    assert {worth.design.taps for worth in tried} == {((),)}
    assert fastest(early, tried).latency_mean_ms < WHOLE_MS / 8
    assert [found.label for found in baseline_designs(early, 0)] == [
        "hold last",
        "thumbnails only",
    ]


def test_every_design_that_is_tried_can_change_something() -> None:
    early = make_early(stretches())
    for worth in searched(early):
        prior = worth.design.memory.prior
        assert worth.design.kinds or (prior is not None and prior.final > 0)


def test_every_design_that_is_tried_can_be_built() -> None:
    """Room for instances, and rules for centres, exactly where taps ask them; and a threshold
    for every kind that is asked."""
    early = make_early(stretches())
    for worth in searched(early):
        memory = worth.design.memory
        asked = {kind for taps in worth.design.taps for _, kinds in taps for kind in kinds}
        assert ("instances" in asked) == (memory.instances > 0)
        assert ("centres" in asked) == (memory.centres is not None)
        given = vars(worth.thresholds.exits)
        assert {kind for kind, value in given.items() if value is not None} == set(
            worth.design.kinds
        )


def test_the_same_seed_finds_the_same() -> None:
    early = make_early(stretches())
    first, second, other = (searched(early, seed=seed) for seed in (3, 3, 4))
    assert first == second
    assert first != other


def test_the_thresholds_of_a_cascade_are_kept() -> None:
    early = make_early(dwelling())
    twice = dataclasses.replace(
        early,
        problem=dataclasses.replace(early.problem, options=[*early.problem.options] * 2),
        tapped={1: early.tapped[0]},
        chains={0: early.chains[0].merged([]), 1: early.chains[0]},
    )
    base = Base((0, 1), "mean", (0.8,))
    tried = search_base(twice, base, True, True, plain_quality(early), 60, 0)
    assert tried
    for worth in tried:
        assert worth.thresholds.stages == (0.8,)
        assert (worth.design.options, worth.design.rule) == ((0, 1), "mean")
        assert worth.design.taps[0] == (), "the first option has no taps"
    assert any(worth.design.taps[1] for worth in tried)


# ---- baselines ---------------------------------------------------------------------------------


def test_what_early_plans_are_compared_with() -> None:
    early = make_early(dwelling())
    hold, thumbnails, published = baseline_designs(early, 0)
    assert (hold.text, hold.memory) == ("hold last", Memory(thumbnails=1))
    assert (thumbnails.text, thumbnails.memory) == ("thumbnails only", Memory(thumbnails=32))
    assert published.text == "memory as published"
    assert published.published and not (hold.published or thumbnails.published)
    assert published.taps == (((0, ("centres",)), (1, ("centres",))),)
    assert published.memory.centres == Centres("ac", 100, update="exits")


@pytest.mark.parametrize("number", range(3), ids=["hold last", "thumbnails", "published"])
def test_a_baseline_is_tuned_from_never_to_nearly_always(number: int) -> None:
    early = make_early(dwelling(), skills=(2.0, 3.0, 5.0))
    used = baseline_designs(early, 0)[number]
    found = tune_baseline(early, used)
    assert {worth.design for worth in found} == {used}
    (kind,) = used.kinds
    values = [getattr(worth.thresholds.exits, kind) for worth in found]
    assert values == sorted(set(values)) and len(values) > 20
    whole = [worth.reach[-1] for worth in found]
    assert max(whole) - min(whole) > (0.5 if kind == "centres" else 0.1)
    for worth in found:
        others = dataclasses.replace(worth.thresholds.exits, **{kind: None})
        assert others == ExitThresholds()


def test_holding_the_last_answer_pays_where_objects_stay_and_not_where_they_take_turns() -> None:
    def best(early: Early, number: int) -> float:
        tried = tune_baseline(early, baseline_designs(early, 0)[number])
        good = [worth for worth in tried if worth.replayed["top1"] >= plain_quality(early)]
        return min((worth.latency_mean_ms for worth in good), default=np.inf)

    stays = make_early(dwelling(objects=20, stay=15))
    assert best(stays, 0) < WHOLE_MS / 5
    seen = dwelling(objects=20, stay=15)
    turns = np.concatenate([np.arange(g, 300, 15) for g in range(15)])
    in_turn = make_early(type(seen)(seen.labels[turns], seen.thumbnails[turns], seen.shown[turns]))
    assert best(in_turn, 0) > WHOLE_MS
    assert best(in_turn, 1) < WHOLE_MS / 5


# ---- refining ----------------------------------------------------------------------------------

REFINED = [
    ("thumbnails", Memory(thumbnails=8), (), 20.0),
    ("instances", Memory(instances=16), ("instances",), 0.9),
    ("heads", NO_MEMORY, ("heads",), 0.8),
    ("centres", Memory(centres=Centres("probability", update="none")), ("centres",), 0.7),
    ("centres", Memory(centres=Centres("probability", update="none")), ("centres",), 0.25),
    ("centres", Memory(centres=Centres("ac", update="none")), ("centres",), 0.1),
    ("centres", Memory(centres=Centres("ac", update="none")), ("centres",), 0.9),
    ("centres", Memory(centres=Centres("ac", update="none")), ("centres",), 1.0),
]


@pytest.mark.parametrize(
    ("kind", "memory", "kinds", "value"),
    REFINED,
    ids=[f"{kind} {m.centres.measure if m.centres else ''} {v}" for kind, m, _, v in REFINED],
)
def test_refining_moves_a_threshold_both_ways(
    kind: str, memory: Memory, kinds: tuple[str, ...], value: float
) -> None:
    early = make_early(dwelling(), skills=(1.5, 2.0, 4.0))
    taps = tuple((tap, kinds) for tap in range(2)) if kinds else ()
    start = early.worth(
        ExitDesign((0,), "last", (taps,), memory),
        Thresholds(exits=ExitThresholds(**{kind: value})),
    )
    found = refined(early, [start])
    assert found[0] == start
    values = np.array([getattr(worth.thresholds.exits, kind) for worth in found])
    assert (values < value).any() and (values > value).any()
    assert len(np.unique(values)) >= 9
    if kind != "thumbnails" and not (memory.centres and memory.centres.measure == "ac"):
        assert ((values >= 0) & (values <= 1)).all()
    # What lets more frames exit: a larger difference, and less of everything else.
    loose = values if kind == "thumbnails" else -values
    exits = np.array([1.0 - worth.reach[-1] for worth in found])
    order = np.argsort(loose)
    if kind in ("heads", "centres"):  # of memories that do not learn, looser is never less
        assert (np.diff(exits[order]) >= 0).all()
    assert exits[order][-1] >= exits[order][0]
    assert all(worth.design == start.design for worth in found)


def test_refining_moves_one_threshold_at_a_time() -> None:
    early = make_early(dwelling())
    used = ExitDesign(
        (0,), "last", (((0, ("instances", "heads")),),), Memory(4, 16, prior=Prior())
    )
    exits = ExitThresholds(thumbnails=5.0, instances=0.9, heads=0.8)
    start = early.worth(used, Thresholds(exits=exits))
    moved = set()
    for worth in refined(early, [start]):
        given = vars(worth.thresholds.exits)
        changed = {kind for kind, value in given.items() if value != getattr(exits, kind)}
        assert len(changed) <= 1
        moved |= changed
    assert moved == {"thumbnails", "instances", "heads"}


# ---- choosing ----------------------------------------------------------------------------------


def made(name: str, latency: float, quality: float) -> ExitPoint:
    used = ExitDesign((0,), "last", ((),), Memory(thumbnails=1), label=name)
    at = Thresholds(exits=ExitThresholds(thumbnails=latency))
    return ExitPoint(used, at, (1.0, 1.0), {"top1": quality}, {"top1": quality}, latency, 0.0)


def figures(worths: list[ExitPoint]) -> list[tuple[float, float]]:
    return [(worth.latency_mean_ms, worth.guarded["top1"]) for worth in worths]


def test_pareto_leaves_out_what_is_beaten_and_keeps_the_fastest_good_one() -> None:
    beaten = [made("a", 3.0, 0.5), made("a", 2.0, 0.4), made("a", 2.0, 0.39)]
    front = [made("a", float(t), 0.1 * t) for t in range(1, 10)]
    assert sorted(figures(pareto([*beaten, *front[2:], *front[:2]], "top1", 2.0, 99))) == sorted(
        [*figures([front[0]]), (2.0, 0.4), (3.0, 0.5), *figures(front[5:])]
    )
    for count in (1, 2, 3, 5):
        found = pareto(front, "top1", 0.55, count)
        assert len(found) == count
        assert found[0] == front[5], "the fastest of those that are good enough"
        assert len({worth.latency_mean_ms for worth in found}) == count
    none_good = pareto(front, "top1", 2.0, 2)
    assert sorted(figures(none_good)) == figures([front[0], front[-1]])


def test_the_designs_worth_building() -> None:
    fast, good, slow, beaten = (
        [made("fast", 1.0, 0.2), made("fast", 1.5, 0.3)],
        [made("good", 4.0, 0.9), made("good", 3.0, 0.7), made("good", 2.0, 0.5)],
        [made("slow", 6.0, 0.95)],
        [made("beaten", 7.0, 0.1)],
    )
    tried = [*beaten, *slow, *good, *fast]
    found = best_designs(tried, "top1", 0.9, 5)
    assert [worths[0].design.label for worths in found[:2]] == ["good", "slow"]
    assert [worths[0].design.label for worths in found[2:]] == ["fast"]
    assert found[0][0] == good[0], "at the point that makes it worth building"
    assert sorted(figures(found[0])) == sorted(figures(good))
    for count in (1, 2, 3):
        chosen = best_designs(tried, "top1", 0.9, count)
        assert [w[0].design for w in chosen] == [w[0].design for w in found[:count]]
    assert [w[0].design.label for w in best_designs(tried, "top1", 2.0, 1)] == ["fast"]
    assert best_designs([], "top1", 0.9, 3) == []


def test_a_design_keeps_four_points_and_the_one_it_was_chosen_for() -> None:
    early = make_early(stretches(), skills=(1.5, 2.5, 4.0))
    least = plain_quality(early) - 0.02
    used = ExitDesign((0,), "last", (((0, ("heads",)), (1, ("heads",))),), NO_MEMORY)
    tried = [
        early.worth(used, Thresholds(exits=ExitThresholds(heads=float(at))))
        for at in np.linspace(0.4, 1.0, 60)
    ]
    (points,) = best_designs(tried, "top1", least, 5)
    assert len(points) == 4
    good = [worth for worth in tried if worth.guarded["top1"] >= least]
    assert points[0].latency_mean_ms == min(worth.latency_mean_ms for worth in good)
    assert min(worth.latency_mean_ms for worth in points) == min(
        worth.latency_mean_ms for worth in tried
    )
    assert points[0].latency_mean_ms < sum(SEGMENTS_MS)
