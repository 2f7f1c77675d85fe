"""Streams of a job: which inputs are traced, and in which order."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sample_models import texture_images
from stream_jobs import spec_of

from trimtab.planner.jobs.dataset import (
    EQUIPPED_FIT,
    TRACED_FIT,
    SplitRows,
    equipping_inputs,
    load_dataset,
    used_inputs,
)
from trimtab.planner.specification.job import JobSpec
from trimtab.workloads import Item, Splits, Workload, make_stream
from trimtab_runtime.errors import SpecificationError

MOVING = ("dwelling", "interleaved")
KINDS = ("longtail", "dwelling", "interleaved", "hot_classes", "recorded")
SHORT = {
    "longtail": {"frames": 60},
    "dwelling": {"frames": 60, "mean_frames": 5},
    "interleaved": {"frames": 60, "mean_frames": 6, "objects": 3},
    "hot_classes": {"frames": 60, "stretch": 8, "classes": 2},
    "recorded": {},
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of four classes; two of one object each ('shown' in labels.csv)."""
    folder = tmp_path_factory.mktemp("photos")
    images, labels = texture_images(72, seed=3, size=8)
    order = np.argsort(labels, kind="stable")
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "shown"])
        for number, index in enumerate(order):
            name = f"{number:02}.png"
            Image.fromarray(images[index]).save(folder / name)
            writer.writerow([name, f"class{labels[index]}", f"object{number // 2}"])
    return folder


Used = tuple[Workload, Splits, list[Item], SplitRows]


def used(spec: JobSpec, folder: Path) -> Used:
    workload, splits = load_dataset(spec)
    items, rows = used_inputs(workload, splits, spec, folder)
    return workload, splits, list(items), rows


def sources(workload: Workload, items: list[Item]) -> list[int]:
    """The image of the workload that each input shows."""
    number = {item.name: index for index, item in enumerate(workload.items)}
    return [number[item.name.partition("@")[0]] for item in items]


# ---- frames ------------------------------------------------------------------------------------


@pytest.mark.parametrize("grouped", [False, True], ids=["images", "groups"])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_stills_of_fit_then_the_frames_of_each_stream(
    photos: Path, tmp_path: Path, kind: str, grouped: bool
) -> None:
    spec = spec_of(photos, {"kind": kind, **SHORT[kind]}, grouped=grouped)
    workload, splits, items, rows = used(spec, tmp_path)
    joined = np.concatenate([rows.fit, rows.tune, rows.test])
    assert joined.tolist() == list(range(len(items)))
    assert len(rows.certify) == 0
    shows = np.array(sources(workload, items))
    assert [items[row] for row in rows.fit] == [workload.items[index] for index in splits.fit]
    for name in ("tune", "test"):
        own, split = getattr(rows, name), getattr(splits, name)
        stream = make_stream(workload, split, spec.workload.stream.recipe, splits.seed)
        assert shows[own].tolist() == stream.items.tolist(), "in the order of arrival"
        assert set(shows[own].tolist()) <= set(split.tolist())
        moved = [items[row].name.partition("@")[1] == "@" for row in own]
        assert moved == [not stream.is_still(t) for t in range(len(stream))]
        assert any(moved) == (kind in MOVING)
    assert not set(shows[rows.tune].tolist()) & set(shows[rows.test].tolist())
    assert all(item.path.is_file() for item in items), "frames are rendered"


@pytest.mark.parametrize("grouped", [False, True], ids=["images", "groups"])
@pytest.mark.parametrize("kind", ["independent", *KINDS])
def test_labels_objects_and_blocks_are_those_of_each_input(
    photos: Path, tmp_path: Path, kind: str, grouped: bool
) -> None:
    spec = spec_of(photos, {"kind": kind, "frames": 20, **SHORT.get(kind, {})}, grouped=grouped)
    workload, splits, items, rows = used(spec, tmp_path)
    shows = np.array(sources(workload, items))
    assert rows.labels is not None and workload.labels is not None
    assert rows.labels.tolist() == workload.labels[shows].tolist()
    assert rows.classes == workload.classes
    assert rows.objects is not None and rows.blocks is not None
    shown = [workload.items[index].group if grouped else str(index) for index in shows]
    pairs = set(zip(shown, rows.objects.tolist(), strict=True))
    assert len(pairs) == len(set(shown)) == len(set(rows.objects.tolist())), "one to one"
    for name in ("tune", "test"):
        own = getattr(rows, name)
        stream = make_stream(
            workload, getattr(splits, name), spec.workload.stream.recipe, splits.seed
        )
        blocks = rows.blocks[own]
        assert (blocks - blocks.min()).tolist() == stream.blocks.tolist()
    parts = [set(rows.blocks[own].tolist()) for own in (rows.fit, rows.tune, rows.test)]
    assert not parts[0] & parts[1] and not (parts[0] | parts[1]) & parts[2]
    assert len(parts[0]) == len(rows.fit)


def test_frames_are_named_by_their_content_and_rendered_once(photos: Path, tmp_path: Path) -> None:
    spec = spec_of(photos, {"kind": "dwelling", **SHORT["dwelling"]})
    first = used(spec, tmp_path / "a")
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    again, elsewhere = used(spec, tmp_path / "a"), used(spec, tmp_path / "b")
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()} == written
    for _, _, items, rows in (again, elsewhere):
        assert [item.sha256 for item in items] == [item.sha256 for item in first[2]]
        assert rows.tune.tolist() == first[3].tune.tolist()


def test_without_labels_there_are_none(photos: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for path in photos.glob("*.png"):
        (plain / path.name).write_bytes(path.read_bytes())
    spec = spec_of(plain, {"kind": "dwelling", **SHORT["dwelling"]}, reference="a")
    _, _, items, rows = used(spec, tmp_path / "frames")
    assert rows.labels is None
    assert rows.objects is not None and len(rows.objects) == len(items)


# ---- independent stills ------------------------------------------------------------------------


def test_without_exits_independent_inputs_are_as_they_were_split(
    photos: Path, tmp_path: Path
) -> None:
    workload, splits, items, rows = used(spec_of(photos), tmp_path)
    shows = np.array(sources(workload, items))
    assert shows.tolist() == sorted([*splits.fit, *splits.tune, *splits.test])
    for name in ("fit", "tune", "test"):
        assert shows[getattr(rows, name)].tolist() == getattr(splits, name).tolist()
    assert rows.blocks is None and len(rows.certify) == 0
    assert workload.labels is not None and rows.labels is not None
    assert rows.labels.tolist() == workload.labels[shows].tolist()
    assert not tmp_path.joinpath("x").exists() and not list(tmp_path.iterdir())


@pytest.mark.parametrize("technique", ["exits", "memory"])
def test_with_exits_independent_inputs_arrive_in_a_random_order(
    photos: Path, tmp_path: Path, technique: str
) -> None:
    spec = spec_of(photos, techniques={technique: True})
    workload, splits, items, rows = used(spec, tmp_path)
    shows = np.array(sources(workload, items))
    assert shows[rows.fit].tolist() == splits.fit.tolist()
    for name in ("tune", "test"):
        own, split = shows[getattr(rows, name)], getattr(splits, name)
        assert sorted(own.tolist()) == sorted(split.tolist()), "every image once"
        assert own.tolist() != split.tolist()
        stream = make_stream(workload, split, spec.workload.stream.recipe, splits.seed)
        assert own.tolist() == stream.items.tolist()
    assert rows.blocks is None


@pytest.mark.parametrize("equips", [False, True])
def test_more_of_fit_is_for_taps_than_is_traced(
    photos: Path, tmp_path: Path, equips: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.planner.jobs.dataset.TRACED_FIT", 5)
    monkeypatch.setattr("trimtab.planner.jobs.dataset.EQUIPPED_FIT", 11)
    assert TRACED_FIT < EQUIPPED_FIT
    for stream in (None, {"kind": "longtail", "frames": 9}):
        spec = spec_of(photos, stream, {"exits": equips})
        workload, splits, items, rows = used(spec, tmp_path)
        assert len(rows.fit) == 5
        assert {*rows.fit.tolist()} <= {*range(len(items))}
        equip, labels = equipping_inputs(workload, splits, spec)
        assert [item.path for item in equip] == [
            workload.items[index].path for index in splits.fit[: 11 if equips else 0]
        ]
        assert labels is not None and workload.labels is not None
        assert labels.tolist() == workload.labels[splits.fit[: len(equip)]].tolist()


# ---- certificates ------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [None, {"kind": "independent", "frames": 50}], ids=str)
@pytest.mark.parametrize("grouped", [False, True], ids=["images", "groups"])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_whole_objects_of_tune_are_kept_for_certificates(
    photos: Path, tmp_path: Path, stream: Any, grouped: bool, share: float
) -> None:
    exits = {"exits": True}
    whole = used(spec_of(photos, stream, exits, grouped=grouped), tmp_path)
    spec = spec_of(photos, stream, exits, grouped=grouped, certify={"share": share})
    workload, _, items, rows = used(spec, tmp_path)
    assert sorted([*rows.tune, *rows.certify]) == sorted(whole[3].tune.tolist())
    assert rows.test.tolist() == whole[3].test.tolist()
    assert rows.fit.tolist() == whole[3].fit.tolist()
    assert rows.objects is not None
    kept, aside = (set(rows.objects[own].tolist()) for own in (rows.tune, rows.certify))
    assert kept and not kept & aside
    assert len(aside) / len(kept | aside) == pytest.approx(share, abs=0.6 / len(kept | aside))
    shows = np.array(sources(workload, items))
    assert not set(shows[rows.tune].tolist()) & set(shows[rows.certify].tolist())
    order = whole[3].tune.tolist()
    for own in (rows.tune, rows.certify):
        assert [order.index(row) for row in own] == sorted(order.index(row) for row in own)


def test_a_share_that_leaves_nothing_to_select_on_is_refused(photos: Path, tmp_path: Path) -> None:
    spec = spec_of(photos, None, {"exits": True}, certify={"share": 0.99})
    with pytest.raises(SpecificationError, match=r"^certify\.share: 0\.99 of the 24 object"):
        used(spec, tmp_path)
