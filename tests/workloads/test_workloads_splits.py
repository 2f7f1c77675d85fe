"""Splits: disjoint, of the sizes asked, stratified, groups intact, the same everywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.workloads import SPLIT_NAMES, Item, Splits, Workload, split_workload
from trimtab_runtime.errors import WorkloadError


def make_workload(
    labels: Sequence[int] | None = None,
    groups: Sequence[str] | None = None,
    contents: Sequence[str] | None = None,
    images: int = 0,
) -> Workload:
    """A workload without files: splits look at labels, groups and hashes only."""
    count = images or len(labels or groups or contents or ())
    items = [
        Item(
            path=Path(f"/nowhere/{i}.png"),
            name=f"{i}.png",
            label=labels[i] if labels else None,
            group=groups[i] if groups else None,
            sha256=contents[i] if contents else f"{i:064x}",
            size_bytes=1,
        )
        for i in range(count)
    ]
    classes = tuple(str(i) for i in range(max(labels) + 1)) if labels else ()
    return Workload(tuple(items), classes)


def arrays(splits: Splits) -> list[list[int]]:
    return [getattr(splits, name).tolist() for name in SPLIT_NAMES]


def check_disjoint(splits: Splits, images: int) -> None:
    used = np.concatenate(arrays(splits)).tolist()
    assert len(set(used)) == len(used)
    assert set(used) <= set(range(images))
    for name in SPLIT_NAMES:
        assert getattr(splits, name).dtype == np.int64


@given(data=st.data())
def test_sizes_classes_and_seed(data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.integers(0, 5), min_size=3, max_size=120))
    labelled = data.draw(st.booleans())
    fit = data.draw(st.integers(1, len(labels) - 2))
    tune = data.draw(st.integers(1, len(labels) - fit - 1))
    test = data.draw(st.integers(1, len(labels) - fit - tune))
    seed = data.draw(st.integers(0, 2**40))
    workload = make_workload(labels if labelled else None, images=len(labels))

    splits = split_workload(workload, fit, tune, test, seed)

    check_disjoint(splits, len(labels))
    assert splits.sizes == {"fit": fit, "tune": tune, "test": test}
    assert splits.asked == (fit, tune, test)
    again = split_workload(workload, fit, tune, test, seed)
    assert arrays(again) == arrays(splits)
    assert again.key == splits.key
    if labelled:
        counts = Counter(labels)
        classes = len(counts)
        for part in arrays(splits):
            share = len(part) / len(labels)
            found = Counter(labels[i] for i in part)
            # A stretch of the order holds its share of every class, rounded up or down; all
            # the other classes' rounding together may move its borders.
            assert all(abs(found[c] - counts[c] * share) < 1 + classes for c in counts)


@given(
    members=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=12, max_size=60),
    seed=st.integers(0, 1000),
    labelled=st.booleans(),
)
def test_groups_stay_together(members: list[tuple[int, int]], seed: int, labelled: bool) -> None:
    groups = [f"object {i}" for i, (size, _) in enumerate(members) for _ in range(size)]
    labels = [label for size, label in members for _ in range(size)]
    largest = max(size for size, _ in members)
    workload = make_workload(labels if labelled else None, groups)
    third = len(groups) // 3
    if third <= largest:
        return  # too coarse to be cut: the next test is about that

    splits = split_workload(workload, third, third, third, seed)

    check_disjoint(splits, len(groups))
    homes = [{groups[i] for i in part} for part in arrays(splits)]
    assert not homes[0] & homes[1]
    assert not homes[0] & homes[2]
    assert not homes[1] & homes[2]
    used = np.concatenate(arrays(splits)).tolist()
    whole = Counter(groups)
    assert all(count == whole[name] for name, count in Counter(groups[i] for i in used).items())
    # Each of a split's two borders moved by half a group at most.
    assert all(abs(len(part) - third) <= largest for part in arrays(splits))
    assert splits.asked == (third, third, third)


def test_classes_are_stratified() -> None:
    labels = [0] * 700 + [1] * 200 + [2] * 100
    splits = split_workload(make_workload(labels), 300, 300, 400, seed=3)
    found = [np.bincount([labels[i] for i in part]).tolist() for part in arrays(splits)]
    shares = [[210, 60, 30], [210, 60, 30], [280, 80, 40]]
    assert np.abs(np.array(found) - shares).max() <= 2
    prefix = np.bincount([labels[i] for i in arrays(splits)[0][:100]])
    assert np.abs(prefix - [70, 20, 10]).max() <= 2


def test_seeds_give_different_splits_and_every_image_its_chance() -> None:
    workload = make_workload([i % 4 for i in range(80)])
    times = np.zeros(80)
    for seed in range(300):
        times[split_workload(workload, 20, 20, 40, seed).fit] += 1
    assert abs(times.mean() - 75) < 1e-9
    assert times.min() > 75 - 6 * 7.5  # standard deviation 7.5
    assert times.max() < 75 + 6 * 7.5


def test_the_same_splits_on_every_machine() -> None:
    workload = make_workload([0, 1, 0, 1, 0, 1, 0, 1])
    splits = split_workload(workload, 2, 3, 3, seed=1)
    assert arrays(splits) == [[4, 5], [0, 7, 2], [1, 6, 3]]


def test_files_with_the_same_content_stay_together() -> None:
    contents = [f"{i // 2:064x}" for i in range(40)]
    splits = split_workload(make_workload([0] * 40, contents=contents), 10, 10, 20, seed=0)
    homes = [{contents[i] for i in part} for part in arrays(splits)]
    assert splits.sizes == {"fit": 10, "tune": 10, "test": 20}
    assert not (homes[0] & homes[1] or homes[0] & homes[2] or homes[1] & homes[2])


@pytest.mark.parametrize(
    ("fractions", "sizes"), [((0.2, 0.3, 0.5), [20, 31, 50]), ((0.1, 0.1, 0.1), [10, 10, 10])]
)
def test_fractions(fractions: tuple[float, float, float], sizes: list[int]) -> None:
    splits = split_workload(make_workload(images=101), *fractions)
    assert list(splits.sizes.values()) == sizes
    assert list(splits.asked) == sizes


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((50, 40, 11), "fit 50, tune 40, test 11 need 101 images, but there are 100"),
        ((0.5, 0.4, 0.2), "fractions must sum to 1 or less"),
        ((0.5, 20, 20), "three numbers of images .* or three fractions"),
        ((0, 20, 20), "three numbers of images .* got fit 0"),
        ((10.5, 20, 20), "three numbers of images"),
        ((float("nan"), 20, 20), "three numbers of images"),
        ((-1, 20, 20), "three numbers of images"),
        ((0.001, 0.5, 0.4), "100 image.* are too few for the fractions"),
    ],
)
def test_sizes_that_cannot_be(sizes: tuple[float, float, float], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        split_workload(make_workload(images=100), *sizes)


def test_too_few_groups() -> None:
    workload = make_workload(groups=["left"] * 20 + ["right"] * 20)
    with pytest.raises(WorkloadError, match=r"no image is left for test: 2 group\(s\)"):
        split_workload(workload, 10, 10, 10)
