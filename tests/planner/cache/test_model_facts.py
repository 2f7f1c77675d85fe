"""Facts of model files are asked for once: the store has them by content afterwards."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import only_does
from sample_models import write_onnx
from sample_tflite import write_tflite

from trimtab.db import Store
from trimtab.planner.cache.facts import facts_of
from trimtab.planner.cache.views import ViewCache
from trimtab.variants import Wishes, inspect_model
from trimtab_runtime.errors import ModelError


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "trimtab.db") as opened:
        yield opened


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_facts_are_those_of_the_file_and_found_again_wherever_it_lies(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / f"a.{kind}"
    write_onnx(path, 2) if kind == "onnx" else write_tflite(path, 4, quantised=True)
    expected = inspect_model(path)
    assert facts_of(store, path, None, 60.0) == expected
    only_does("exit 3", tmp_path, monkeypatch)
    moved = shutil.copy(path, tmp_path / f"b.{kind}")
    assert facts_of(store, path, None, 60.0) == expected
    assert facts_of(store, Path(moved), None, 60.0) == expected
    assert [variant.recipe["step"] for variant in store.list_variants()] == ["inspected"]


@pytest.mark.parametrize("size", [None, (48, 32)])
def test_who_opens_a_file_tells_its_facts_too(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int] | None
) -> None:
    path = write_onnx(tmp_path / "a.onnx", 2, size="side" if size else 32)
    monkeypatch.setattr("trimtab.planner.cache.facts._TOLD", {})
    monkeypatch.setattr("trimtab.planner.cache.views._MADE", OrderedDict())
    view = ViewCache(store).open(path, Wishes(size=size), tmp_path / "view", 60.0)
    only_does("exit 3", tmp_path, monkeypatch)
    assert facts_of(store, view.path, size, 60.0) == inspect_model(view.path, size)


def test_another_content_or_size_is_asked_for(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_onnx(tmp_path / "open.onnx", 2, size="side")
    assert facts_of(store, path, (48, 32), 60.0).tried_size == (48, 32)
    assert facts_of(store, path, None, 60.0).tried_size is None
    write_onnx(path, 4, size="side")
    assert facts_of(store, path, None, 60.0) == inspect_model(path)
    assert len(store.list_variants()) == 3
    write_onnx(path, 8, size="side")
    only_does("exit 3", tmp_path, monkeypatch)
    with pytest.raises(ModelError, match=r"open\.onnx: .* status 3"):
        facts_of(store, path, None, 60.0)


def test_another_version_of_the_inspection_asks_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_onnx(tmp_path / "a.onnx", 2)
    facts_of(store, path, None, 60.0)
    only_does("exit 3", tmp_path, monkeypatch)
    monkeypatch.setattr("trimtab.planner.cache.keys.INSPECTION_VERSION", 0)
    with pytest.raises(ModelError):
        facts_of(store, path, None, 60.0)


def test_a_refusal_is_not_kept(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_onnx(tmp_path / "a.onnx", 2)
    monkeypatch.setattr("trimtab.planner.cache.facts._TOLD", {})
    with monkeypatch.context() as patched:
        only_does("exit 3", tmp_path, patched)
        with pytest.raises(ModelError):
            facts_of(store, path, None, 60.0)
    assert store.list_variants() == []
    assert facts_of(store, path, None, 60.0) == inspect_model(path)


def test_what_cannot_be_read_is_told_as_ever(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no such file"):
        facts_of(store, tmp_path / "absent.onnx", None, 60.0)
    (tmp_path / "a.pt").write_text("weights")
    with pytest.raises(ModelError, match=r"a \.pt file holds weights"):
        facts_of(store, tmp_path / "a.pt", None, 60.0)
