"""A semantic memory's file: saved and restored, and refused where it cannot be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_tests import examples
from sample_recall import full, play

from trimtab_runtime.errors import BundleError, InferenceError
from trimtab_runtime.memory import semantic


def test_saving_and_restoring(tmp_path: Path) -> None:
    recall, other = full(), full(frames=3)
    path = str(tmp_path / "memory.npz")
    recall.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["memory.npz"]
    other.restore(path)
    assert other.summary() == recall.summary()
    one, two = np.random.default_rng(5), np.random.default_rng(5)
    for frame in range(60):
        assert play(recall, one, frame) == play(other, two, frame)


def test_saving_replaces_at_once_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "memory.npz"
    full(frames=5).save(str(path))
    before = path.read_bytes()

    def broken(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(semantic.np, "savez", broken)
    with pytest.raises(OSError, match="no space left"):
        full().save(str(path))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["memory.npz"]


def test_what_was_saved_by_another_plan_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "memory.npz")
    full(capacity=5).save(path)
    recall = full()
    before = recall.summary()
    with pytest.raises(BundleError, match=r"the memory of another plan \(.* differs\)"):
        recall.restore(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(BundleError, match="the memory of another plan"):
        recall.restore(path)
    assert recall.summary() == before


@pytest.mark.parametrize("content", [b"", b"no npz", b"PK\x03\x04" + b"\0" * 90])
def test_what_is_no_saved_memory_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "memory.npz"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="no saved memory"):
        full().restore(str(path))
    with pytest.raises(BundleError, match="no saved memory"):
        full().restore(str(tmp_path / "none.npz"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("log_prior", np.nan, "holds NaN"),
        ("tap_0_entries_vectors", np.inf, "holds NaN"),
        ("clock", -1, "its clock cannot be"),
        ("clock", 0, "its clock cannot be"),
        ("tap_0_entries_used", 10**12, "its clock cannot be"),
        ("last_seen", -7, "its clock cannot be"),
        ("hot_count", 4, "its hot classes cannot be"),
        ("hot_count", 0, "its hot classes cannot be"),
        ("hot", 3, "its hot classes cannot be"),
        ("hot", 1, "its hot classes are not in order"),
        ("tap_1_members", -1, "tap_1_members >= 0 must hold"),
        ("counts", -1, "counts >= 0 must hold"),
    ],
)
def test_numbers_that_cannot_be_are_refused(
    tmp_path: Path, name: str, value: float, message: str
) -> None:
    recall = full()
    saved = recall.snapshot()
    saved["hot_count"][:] = 3
    saved[name][...] = value
    np.savez(tmp_path / "memory.npz", **saved)
    before = recall.snapshot()
    with pytest.raises(BundleError, match=message):
        recall.restore(str(tmp_path / "memory.npz"))
    assert all((before[key] == array).all() for key, array in recall.snapshot().items())


@examples(200)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_restored(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    recall = full()
    recall.save(str(path))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([None, None, len(content) // 2]))])
    try:
        recall.restore(str(path))
    except BundleError as error:
        assert str(error).startswith(f"{path}: ")
    play(recall, np.random.default_rng(0), 1)
    recall.summary()


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e20])
def test_no_number_that_spoils_a_memory_enters_it(tmp_path: Path, number: float) -> None:
    """One such vector would make centres NaN for good, and the file one that is refused."""
    recall = full()
    before = {name: array.copy() for name, array in recall.snapshot().items()}
    vector = np.zeros(len(recall._models[0].mean), np.float32)
    vector[0] = number
    recall.begin()
    if recall.memory.thumbnails:
        recall.at_thumbnail(np.zeros(3 * semantic.THUMBNAIL_SIDE**2, np.float32))
    with pytest.raises(InferenceError, match="NaN, infinity or numbers beyond 1e"):
        recall.at_tap(vector, None)
    after = recall.snapshot()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_what_restore_would_refuse_is_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "memory.npz"
    recall = full()
    recall.save(str(path))
    before = path.read_bytes()
    spoiled = recall.snapshot()
    spoiled["counts"][0] = np.nan
    recall.put_back(spoiled)
    with pytest.raises(BundleError, match="not saved: counts holds NaN"):
        recall.save(str(path))
    assert path.read_bytes() == before
