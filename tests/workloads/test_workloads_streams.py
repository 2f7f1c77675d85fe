from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.workloads import STREAM_KINDS, Item, Stream, StreamRecipe, Workload, make_stream
from trimtab_runtime.errors import WorkloadError

FIELDS = ("items", "shifts", "gains", "noise_seeds", "blocks")


def make_workload(
    labels: Sequence[int] | None = None, groups: Sequence[str] | None = None, images: int = 0
) -> Workload:
    """A workload without files: the order of a stream looks at names only."""
    items = [
        Item(
            path=Path(f"/nowhere/{i}.png"),
            name=f"{i}.png",
            label=None if labels is None else labels[i],
            group=None if groups is None else groups[i],
            sha256=f"{i:064x}",
            size_bytes=1,
        )
        for i in range(images or len(labels or groups or ()))
    ]
    return Workload(tuple(items))


def stream_of(workload: Workload, seed: int = 0, **recipe: Any) -> Stream:
    return make_stream(workload, np.arange(len(workload)), StreamRecipe(**recipe), seed)


def runs(values: Sequence[int]) -> list[int]:
    """Lengths of the stretches of equal values."""
    borders = np.flatnonzero(np.diff(values)) + 1
    return np.diff([0, *borders, len(values)]).tolist()


TEN = make_workload([i % 10 for i in range(300)])


@given(data=st.data())
def test_every_stream(data: st.DataObject) -> None:
    labels = data.draw(st.none() | st.lists(st.integers(0, 4), min_size=8, max_size=40))
    grouped = data.draw(st.booleans())
    count = len(labels) if labels else data.draw(st.integers(8, 40))
    workload = make_workload(
        labels, [f"g{i // 3}" for i in range(count)] if grouped else None, count
    )
    kind = data.draw(st.sampled_from(STREAM_KINDS))
    if kind == "hot_classes" and labels is None and not grouped:
        kind = "longtail"
    recipe: dict[str, Any] = {
        "kind": kind,
        "zipf": data.draw(st.floats(0, 10)),
        "mean_frames": data.draw(st.integers(1, 20)),
        "objects": data.draw(st.integers(1, 5)),
        "stretch": data.draw(st.integers(1, 30)),
        "classes": 1,
        "noise": data.draw(st.sampled_from([0.0, 0.01])),
    }
    seed = data.draw(st.integers(0, 2**40))
    chosen = data.draw(st.permutations(range(count)))[: data.draw(st.integers(6, count))]
    indices = np.array(chosen)
    stream = make_stream(workload, indices, StreamRecipe(**recipe), seed)
    once = kind in ("independent", "recorded")
    assert len(stream) == len(indices) * (1 if once else 4)
    assert set(stream.items.tolist()) <= set(chosen)
    assert stream.shifts.shape == (len(stream), 2)
    for name in FIELDS:
        array = getattr(stream, name)
        assert len(array) == len(stream)
        assert not array.flags.writeable
        assert array.dtype == (np.float64 if name == "gains" else np.int64)
    first_seen = list(dict.fromkeys(stream.blocks.tolist()))
    assert first_seen == list(range(len(first_seen)))
    if kind not in ("dwelling", "interleaved"):
        assert all(stream.is_still(t) for t in range(len(stream)))

    again = make_stream(workload, indices[::-1], StreamRecipe(**recipe), seed)
    assert again.key == stream.key
    assert make_stream(workload, indices, StreamRecipe(**recipe), seed + 1).key != stream.key
    frames = data.draw(st.integers(1, len(stream)))
    shorter = make_stream(workload, indices, StreamRecipe(**recipe, frames=frames), seed)
    for name in FIELDS:
        assert getattr(shorter, name).tolist() == getattr(stream, name)[:frames].tolist()


def test_the_same_streams_on_every_machine() -> None:
    workload = make_workload([i % 3 for i in range(12)])
    found = {kind: stream_of(workload, seed=1, kind=kind) for kind in STREAM_KINDS}
    assert {kind: stream.key[:16] for kind, stream in found.items()} == {
        "independent": "0332087d0a90a2d9",
        "longtail": "850c742b29b75629",
        "dwelling": "80182310c0ea9a8a",
        "interleaved": "074a288bde8073dd",
        "hot_classes": "1eed8082c8cf15a2",
        "recorded": "8b4fafc221f4d232",
    }
    assert found["dwelling"].items[:24].tolist() == [10] * 12 + [4] * 5 + [7] * 7


def test_independent_starts_over_in_another_order() -> None:
    stream = stream_of(TEN, kind="independent", frames=700)
    laps = [stream.items[:300].tolist(), stream.items[300:600].tolist()]
    assert sorted(laps[0]) == sorted(laps[1]) == list(range(300))
    assert laps[0] != laps[1]
    assert laps[0] != sorted(laps[0])
    assert len(set(stream.items[600:].tolist())) == 100
    assert stream.blocks[:300].tolist() == list(range(300))
    same_image = stream.items[:, None] == stream.items
    assert (same_image == (stream.blocks[:, None] == stream.blocks)).all()


def test_images_of_one_group_share_a_block() -> None:
    workload = make_workload(groups=["a", "b", "a", "c", "b", "a"])
    assert stream_of(workload, kind="recorded").blocks.tolist() == [0, 1, 0, 2, 1, 0]
    stream = stream_of(workload, kind="independent")
    groups = [workload.items[i].group for i in stream.items]
    assert runs(sorted(stream.blocks)) == list(Counter(groups).values())


def test_recorded_is_the_order_of_the_files() -> None:
    indices = np.array([7, 3, 200, 31])
    stream = make_stream(TEN, indices, StreamRecipe(kind="recorded"), seed=5)
    assert stream.items.tolist() == [3, 7, 31, 200]
    assert stream.blocks.tolist() == [0, 1, 2, 3]
    with pytest.raises(WorkloadError, match=r"got 5 frames of 4 image\(s\)"):
        make_stream(TEN, indices, StreamRecipe(kind="recorded", frames=5))


def test_longtail_draws_classes_by_zipf() -> None:
    stream = stream_of(TEN, kind="longtail", frames=20_000)
    shares = 1 / np.arange(1, 11) / (1 / np.arange(1, 11)).sum()
    counts = np.bincount(stream.items % 10, minlength=10)
    deviations = np.sqrt(20_000 * shares * (1 - shares))
    assert (np.abs(np.sort(counts)[::-1] - 20_000 * shares) < 5 * deviations).all()
    flat = stream_of(TEN, kind="longtail", frames=20_000, zipf=0)
    assert np.abs(np.bincount(flat.items % 10) - 2000).max() < 5 * 42.5


def test_every_class_has_its_chance_to_be_frequent() -> None:
    ranks = [stream_of(TEN, seed, kind="longtail", frames=300, zipf=3) for seed in range(100)]
    tops = Counter(Counter((s.items % 10).tolist()).most_common(1)[0][0] for s in ranks)
    assert len(tops) == 10
    assert max(tops.values()) < 10 + 5 * 3


@pytest.mark.parametrize("kind", ["longtail", "dwelling", "interleaved", "hot_classes"])
def test_a_class_shows_all_its_photographs_before_one_repeats(kind: str) -> None:
    stream = stream_of(TEN, kind=kind, frames=6000, mean_frames=2)
    blocks, firsts = np.unique(stream.blocks, return_index=True)
    moving = stream.recipe.moves
    shown = stream.items[firsts] if moving else stream.items
    assert len(blocks) > 90
    for label in range(10):
        photographs = shown[shown % 10 == label]
        first = photographs[:30]
        assert len(set(first.tolist())) == len(first)
        if not moving:
            assert photographs[30:].tolist() == photographs[:-30].tolist()


def test_dwelling_stays_for_a_geometric_time() -> None:
    stream = stream_of(TEN, kind="dwelling", frames=30_000, mean_frames=15)
    stays = np.bincount(stream.blocks)[:-1]
    assert runs(stream.items.tolist()) == [*stays, 30_000 - stays.sum()]
    error = np.sqrt(15 * 14 / len(stays))
    assert abs(stays.mean() - 15) < 5 * error
    assert abs(stays.std() - np.sqrt(15 * 14)) < 2.5
    assert abs((stays == 1).mean() - 1 / 15) < 0.03
    assert runs(stream_of(TEN, kind="dwelling", mean_frames=1).items.tolist()) == [1] * 1200


def test_interleaved_objects_come_in_turn_and_leave_one_by_one() -> None:
    stream = stream_of(TEN, kind="interleaved", frames=2400)
    seen = np.bincount(stream.blocks)
    assert seen[:4].tolist() == [4, 8, 12, 15]
    last = set(stream.blocks[-4:].tolist())
    assert {int(n) for stay, n in enumerate(seen[4:], 4) if stay not in last} == {15}
    rounds = stream.items.reshape(600, 4)
    assert all(len(set(row)) == 4 for row in rounds.tolist())
    changes = (np.diff(rounds, axis=0) != 0).sum(axis=1)
    assert changes.max() == 1
    stays = stream.blocks.reshape(600, 4)
    assert ((np.diff(stays, axis=0) != 0) == (np.diff(rounds, axis=0) != 0)).all()


@pytest.mark.parametrize("labels", [[0] * 5, [0, 1, 2, 3, 4], [0, 0, 0, 0, 1]])
def test_interleaved_shows_different_objects_even_where_there_are_few(labels: list[int]) -> None:
    stream = stream_of(make_workload(labels), kind="interleaved", frames=400, mean_frames=3)
    assert all(len(set(row)) == 4 for row in stream.items.reshape(100, 4).tolist())
    assert set(stream.items.tolist()) == set(range(5))
    stays = [int(np.flatnonzero(stream.blocks == b)[0]) for b in range(stream.blocks.max())]
    for start in stays[4:]:
        assert stream.items[start] != stream.items[start - 4]


def test_hot_classes_show_few_classes_and_no_photograph_twice() -> None:
    stream = stream_of(TEN, kind="hot_classes", frames=6000, stretch=60)
    assert stream.blocks.tolist() == [t // 60 for t in range(6000)]
    sets = set()
    for stretch in stream.items.reshape(100, 60):
        assert len(set(stretch.tolist())) == 60
        classes = Counter((stretch % 10).tolist())
        assert len(classes) == 3
        assert min(classes.values()) > 5
        sets.add(frozenset(classes))
    assert len(sets) > 20


def test_hot_classes_repeat_evenly_where_photographs_are_few() -> None:
    workload = make_workload([i % 4 for i in range(20)])
    stream = stream_of(workload, kind="hot_classes", frames=3000, stretch=50, classes=2)
    for stretch in stream.items.reshape(60, 50).tolist():
        times = Counter(stretch)
        assert len(times) == 10
        assert set(times.values()) == {5}


def test_hot_classes_follow_zipf() -> None:
    def most_common(zipf: float) -> float:
        stream = stream_of(TEN, kind="hot_classes", frames=6000, stretch=20, zipf=zipf)
        hot = [c for row in stream.items.reshape(300, 20) % 10 for c in set(row.tolist())]
        return max(Counter(hot).values()) / 300

    assert most_common(0) < 0.45
    assert most_common(4) > 0.95


def test_splits_of_one_seed_are_unrelated() -> None:
    workload = make_workload([i // 2 % 10 for i in range(600)])
    halves = [np.arange(0, 600, 2), np.arange(1, 600, 2)]  # the same labels, place by place
    for kind in ("independent", "longtail", "dwelling", "interleaved", "hot_classes"):
        recipe = StreamRecipe(kind=kind, frames=300, mean_frames=5, stretch=10, zipf=0)
        even, odd = (make_stream(workload, half, recipe, 3) for half in halves)
        labels = [stream.items // 2 % 10 for stream in (even, odd)]
        assert (labels[0] == labels[1]).mean() < 0.25
        assert ((even.items + 1) == odd.items).mean() < 0.05
        if recipe.moves:
            assert (even.noise_seeds != odd.noise_seeds).all()


def test_groups_stand_in_for_classes_where_there_are_no_labels() -> None:
    workload = make_workload(groups=[f"g{i % 5}" for i in range(200)])
    hot = stream_of(workload, kind="hot_classes", stretch=40, classes=2, frames=400)
    assert all(len(set(row % 5)) == 2 for row in hot.items.reshape(10, 40))
    bare = stream_of(make_workload(images=50), kind="longtail", frames=100)
    assert sorted(bare.items[:50].tolist()) == list(range(50))


@pytest.mark.parametrize(
    ("workload", "recipe", "message"),
    [
        (make_workload(images=9), {"kind": "hot_classes"}, "hot_classes needs labels or groups"),
        (make_workload([0, 1] * 9), {"kind": "hot_classes"}, "hot_classes, got 3 of 2"),
        (make_workload([0, 1, 2, 3]), {"kind": "interleaved"}, r"4 image\(s\) and 4 object\(s\)"),
        (make_workload([0]), {"kind": "dwelling"}, r"1 image\(s\) and 1 object\(s\)"),
    ],
)
def test_too_little_for_the_kind(workload: Workload, recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        stream_of(workload, **recipe)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (np.array([], dtype=np.int64), "at least one image, got 0"),
        (np.array([0, 300]), "0 <= index < 300 .* got 0 to 300"),
        (np.array([-1, 5]), "got -1 to 5"),
        (np.array([4, 4, 5]), "must differ, got 3 of which 1 repeat"),
        (np.array([[1, 2]]), r"shape \(images,\), got int64 \(1, 2\)"),
        (np.array([1.0]), "whole numbers .* got float64"),
    ],
)
def test_wrong_indices(indices: Any, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        make_stream(TEN, indices, StreamRecipe())
