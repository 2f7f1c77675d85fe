"""Designs that stop early: what they are called, what they answer, and what they cost."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from sample_early import (
    SEGMENTS_MS,
    TAPS,
    WHOLE_MS,
    dwelling,
    independent,
    labels_of,
    make_early,
    plain_quality,
    said_of,
    stage_cost,
    stretches,
)

from trimtab.search.costs.segmented import FrameOverheads, SegmentedCosts, StageSegments
from trimtab.search.exits.design import Early, Equipment, ExitDesign, Thresholds
from trimtab_runtime.definitions.exits import (
    NO_MEMORY,
    Centres,
    ExitThresholds,
    Memory,
    Prior,
    Tap,
)
from trimtab_runtime.memory import kernel
from trimtab_runtime.memory.semantic import Recall

HEADS = ((0, ("heads",)), (1, ("heads",)))
EVERYTHING = ((0, ("instances", "centres", "heads")), (1, ("instances", "centres", "heads")))
ALL_MEMORY = Memory(8, 16, Centres("probability", 30, update="all"), Prior(final=0.25))
ALL_EXITS = ExitThresholds(thumbnails=5.0, instances=0.97, centres=0.9, heads=0.8)


def design(taps: Any = HEADS, memory: Memory = NO_MEMORY, **changes: Any) -> ExitDesign:
    return ExitDesign((0,), "last", (taps,), memory, **changes)


def heads_at(threshold: float) -> Thresholds:
    return Thresholds(exits=ExitThresholds(heads=threshold))


# ---- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "text", "kinds", "static"),
    [
        (design(), "heads at 2 taps", ("heads",), True),
        (design(HEADS[1:]), "heads at 1 tap", ("heads",), True),
        (design((), Memory(thumbnails=32)), "32 thumbnails", ("thumbnails",), False),
        (
            design(HEADS, Memory(prior=Prior())),
            "heads at 2 taps, running prior",
            ("heads",),
            False,
        ),
        (
            design(EVERYTHING, ALL_MEMORY),
            "8 thumbnails, instances + centres + heads at 2 taps, running prior",
            ("thumbnails", "instances", "centres", "heads"),
            False,
        ),
        (
            design(((0, ("centres",)),), Memory(centres=Centres()), label="memory as published"),
            "memory as published",
            ("centres",),
            False,
        ),
    ],
    ids=lambda value: value.text if isinstance(value, ExitDesign) else "",
)
def test_what_a_design_is_called(
    found: ExitDesign, text: str, kinds: tuple[str, ...], static: bool
) -> None:
    assert (found.text, found.kinds, found.is_static) == (text, kinds, static)


def test_a_design_is_known_by_its_content() -> None:
    assert design().key == design().key
    changes = [
        design(HEADS[1:]),
        design(memory=Memory(thumbnails=1)),
        design(published=True),
        design(label="x"),
        dataclasses.replace(design(), options=(1,)),
        ExitDesign((0, 1), "mean", (HEADS, HEADS), NO_MEMORY),
    ]
    assert len({found.key for found in [design(), *changes]}) == 7


# ---- answers -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def early() -> Early:
    return make_early(stretches())


def test_a_head_that_is_always_right_early_is_cheaper_and_as_good(early: Early) -> None:
    tapped, rows = early.tapped[0], early.problem.tune
    right = np.zeros_like(tapped.logits[0])
    right[rows, labels_of(early)] = 20.0
    sure = dataclasses.replace(
        early, tapped={0: dataclasses.replace(tapped, logits=(right, tapped.logits[1]))}
    )
    found = sure.worth(design(), heads_at(0.9))
    assert found.reach == (1.0, 1.0, 0.0, 0.0)
    assert found.latency_mean_ms == pytest.approx(SEGMENTS_MS[0])
    assert found.replayed["top1"] == 1.0 > plain_quality(early)
    assert found.guarded["top1"] >= plain_quality(early)
    late = sure.worth(design(HEADS[1:]), heads_at(0.9))
    assert late.replayed["top1"] < 1.0, "the other tap is not so good"


def test_where_nothing_exits_a_design_answers_as_the_network_and_costs_its_taps(
    early: Early,
) -> None:
    found = early.worth(design(), heads_at(1.01))
    assert found.reach == (1.0, 1.0, 1.0, 1.0)
    assert found.latency_mean_ms == pytest.approx(sum(SEGMENTS_MS))
    assert found.replayed == {"top1": pytest.approx(plain_quality(early)), "agreement": 1.0}
    assert found.guarded["top1"] == pytest.approx(plain_quality(early))


def test_static_heads_are_a_look_at_each_frame_alone(early: Early) -> None:
    """Against plain arrays: the first tap whose softmax reaches the threshold answers."""
    rows, threshold = early.problem.tune, 0.7
    network = early.problem.options[0].probabilities[rows]
    first, second = (np.exp(logits[rows]) for logits in early.tapped[0].logits)
    stops = [first.max(1) >= threshold, second.max(1) >= threshold]
    answer = np.where(
        stops[0], first.argmax(1), np.where(stops[1], second.argmax(1), network.argmax(1))
    )
    assert 0 < stops[0].sum() < len(rows)
    assert (stops[1] & ~stops[0]).any()
    found = early.replay(design(), heads_at(threshold), rows)
    assert found.answer.tolist() == answer.tolist()
    step = np.where(stops[0], 1, np.where(stops[1], 2, 3))
    assert found.step.tolist() == step.tolist()
    assert found.tap.tolist() == np.where(step < 3, step - 1, -1).tolist()
    assert set(found.by.tolist()) == {kernel.HEADS, kernel.NETWORK}
    worth = early.worth(design(), heads_at(threshold))
    reach = [1.0, 1.0, float((step > 1).mean()), float((step > 2).mean())]
    assert worth.reach == pytest.approx(reach)
    assert worth.replayed["top1"] == pytest.approx(float((answer == labels_of(early)).mean()))
    assert worth.replayed["agreement"] == pytest.approx(
        float((answer == network.argmax(1)).mean())
    )
    expected = early.costs(design()).mean_ms(np.array([reach]))[0]
    assert worth.latency_mean_ms == pytest.approx(expected)
    turned = early.replay(design(), heads_at(threshold), rows[::-1])
    assert turned.answer.tolist() == answer[::-1].tolist()


@pytest.mark.parametrize("stream", [dwelling(), stretches()], ids=["dwelling", "stretches"])
def test_every_replay_begins_with_an_empty_memory(stream: Any) -> None:
    early = make_early(stream)
    rows, at = early.problem.tune, Thresholds(exits=ALL_EXITS)
    centres = [arrays.centres.copy() for arrays in early.tapped[0].fitted.arrays]
    used = design(EVERYTHING, ALL_MEMORY)
    first, second = (early.replay(used, at, rows) for _ in range(2))
    assert len(set(first.by.tolist())) > 2, "several kinds answer"
    for name in ("answer", "stage", "tap", "by", "step"):
        assert getattr(first, name).tolist() == getattr(second, name).tolist()
    np.testing.assert_array_equal(first.decided, second.decided)
    for before, arrays in zip(centres, early.tapped[0].fitted.arrays, strict=True):
        np.testing.assert_array_equal(before, arrays.centres)
    prefix = early.replay(used, at, rows[:100])
    assert prefix.answer.tolist() == first.answer[:100].tolist(), "no frame knows the future"
    late = early.replay(used, at, rows[100:])
    assert late.by.tolist() != first.by[100:].tolist(), "what came before is remembered"


MEMORIES = [
    (design((), Memory(thumbnails=4)), ExitThresholds(thumbnails=80.0)),
    (design(HEADS, Memory(prior=Prior(weight=0.75, final=0.5))), ExitThresholds(heads=0.85)),
    (
        design(
            tuple((tap, ("centres",)) for tap in range(2)),
            Memory(centres=Centres("ac", window=20, update="exits")),
            published=True,
        ),
        ExitThresholds(centres=0.02),
    ),
    (
        design(((1, ("instances", "heads")),), Memory(instances=5)),
        ExitThresholds(instances=0.95, heads=0.9),
    ),
    (design(EVERYTHING, ALL_MEMORY), ALL_EXITS),
]


@pytest.mark.parametrize("stream", [dwelling(), stretches()], ids=["dwelling", "stretches"])
@pytest.mark.parametrize(("used", "exits"), MEMORIES, ids=[d.text for d, _ in MEMORIES])
def test_a_replay_is_what_a_device_would_remember(
    stream: Any, used: ExitDesign, exits: ExitThresholds
) -> None:
    """Frame by frame through the memory that plans run with."""
    early = make_early(stream)
    tapped, rows = early.tapped[0], early.problem.tune
    equipment = tapped.published if used.published else tapped.fitted
    (taps,) = used.taps
    recall = Recall(
        used.memory,
        [Tap(TAPS[tap], "", kinds) for tap, kinds in taps],
        [equipment.arrays[tap] for tap, _ in taps],
        4,
    )
    recall.use(exits)
    expected = []
    for row in rows:
        recall.begin()
        said = recall.at_thumbnail(early.thumbnails[row]) if used.memory.thumbnails else None
        for tap, kinds in taps if said is None else ():
            arrays = equipment.arrays[tap]
            raw = equipment.vectors[tap][row] / arrays.scale + arrays.mean
            said = recall.at_tap(raw, tapped.logits[tap][row] if "heads" in kinds else None)
            if said is not None:
                break
        if said is None:
            said = recall.weighed(early.problem.options[0].probabilities[row])
        answer = int(said.argmax())
        expected.append((answer, *recall.finish(said, answer)))
    found = early.replay(used, Thresholds(exits=exits), rows)
    played = list(zip(found.answer.tolist(), found.by.tolist(), found.tap.tolist(), strict=True))
    assert len({by for _, by, _ in played}) > 1, "some exit, some do not"
    same = np.mean([a == b for a, b in zip(played, expected, strict=True)])
    assert same >= 0.999


def test_published_designs_look_at_vectors_as_they_are() -> None:
    early = make_early(independent())
    tapped = early.tapped[0]
    noise = np.random.default_rng(0).standard_normal((2, *tapped.fitted.vectors[0].shape))
    useless = Equipment(tapped.fitted.arrays, tuple(noise.astype(np.float32)))
    swapped = dataclasses.replace(early, tapped={0: dataclasses.replace(tapped, fitted=useless)})
    memory = Memory(centres=Centres("ac", update="none"))
    taps = tuple((tap, ("centres",)) for tap in range(2))
    at = Thresholds(exits=ExitThresholds(centres=0.03))
    own, published = (design(taps, memory, published=flag) for flag in (False, True))
    rows = early.problem.tune
    for used, changes in ((own, True), (published, False)):
        before, after = (e.replay(used, at, rows).answer for e in (early, swapped))
        assert (before.tolist() != after.tolist()) == changes
    assert early.worth(published, at).reach[2] < 1.0, "it does exit"


def test_only_the_taps_of_the_design_are_asked(early: Early) -> None:
    rows, at = early.problem.tune, heads_at(0.6)
    first, last = (early.replay(design(HEADS[t : t + 1]), at, rows) for t in (0, 1))
    early_tap, late_tap = (np.exp(logits[rows]) for logits in early.tapped[0].logits)
    assert (first.by == kernel.HEADS).tolist() == (early_tap.max(1) >= 0.6).tolist()
    assert (last.by == kernel.HEADS).tolist() == (late_tap.max(1) >= 0.6).tolist()


# ---- costs -------------------------------------------------------------------------------------


def test_costs_are_composed_of_what_a_design_does(early: Early) -> None:
    full, never = np.ones((1, 4)), np.array([[1.0, 0.0]])
    assert early.costs(design()).mean_ms(full)[0] == pytest.approx(sum(SEGMENTS_MS))
    one = early.costs(design(HEADS[1:]))
    assert one.step_ms() == pytest.approx([0.0, SEGMENTS_MS[0] + SEGMENTS_MS[1], SEGMENTS_MS[2]])
    thumbnails = early.costs(design((), Memory(thumbnails=8)))
    assert thumbnails.mean_ms(never)[0] == pytest.approx(0.07), "looks and learns"
    learns = early.costs(design(HEADS, Memory(prior=Prior())))
    assert learns.mean_ms(full)[0] == pytest.approx(sum(SEGMENTS_MS) + 0.02)


def test_a_network_without_taps_is_not_charged_for_look_ups(early: Early) -> None:
    found = early.costs(design((), Memory(thumbnails=8)))
    assert found.step_ms() == pytest.approx([0.07, WHOLE_MS])


def test_a_cascade_with_taps_in_its_second_stage(early: Early) -> None:
    """The first stage runs whole, its confidence decides; then come the taps of the second."""
    generator = np.random.default_rng(8)
    option, rows = early.problem.options[0], early.problem.tune
    labels = np.concatenate([np.zeros(len(early.thumbnails) - len(rows), int), labels_of(early)])
    small = np.exp(said_of(labels, np.arange(len(labels)), 2.0, generator))
    cheap = dataclasses.replace(option, name="small", probabilities=small, cost=stage_cost(2.0))
    problem = dataclasses.replace(early.problem, options=[option, cheap])
    chains = {**early.chains, 1: StageSegments((cheap.cost,), cheap.cost.values, 1.0)}
    both = dataclasses.replace(early, problem=problem, chains=chains)
    cascade = ExitDesign((1, 0), "last", ((), HEADS), NO_MEMORY)
    at = Thresholds((0.9,), ExitThresholds(heads=0.8))
    found = both.replay(cascade, at, rows)
    stops = small[rows].max(1) >= 0.9
    assert 0 < stops.sum() < len(rows)
    assert ((found.step == 1) == stops).all()
    assert (found.stage == np.where(stops, 0, 1)).all()
    alone = early.replay(design(), heads_at(0.8), rows)
    assert (found.answer == np.where(stops, small[rows].argmax(1), alone.answer)).all()
    worth = both.worth(cascade, at)
    assert worth.reach[:3] == pytest.approx((1.0, 1.0, 1 - stops.mean()))
    expected = both.costs(cascade).mean_ms(np.array([worth.reach]))[0]
    assert worth.latency_mean_ms == pytest.approx(expected)


def test_what_was_measured_wins_over_what_is_composed(early: Early) -> None:
    none = FrameOverheads(np.zeros(0), np.zeros(0))
    measured = SegmentedCosts([StageSegments((stage_cost(1.0),) * 3, {"load_ms": 7.0}, 2.0)], none)
    known = dataclasses.replace(early, measured={design().key: measured})
    assert known.costs(design()) is measured
    assert known.worth(design(), heads_at(1.01)).latency_mean_ms == pytest.approx(3.0)
    other = design(HEADS[1:])
    assert known.costs(other).fixed() == early.costs(other).fixed()
    assert known.costs(other).step_ms() == early.costs(other).step_ms()
