"""`trimtab gc` over a store on disk."""

import io
import json
import os
import time

import pytest

from trimtab.db import Store, VariantRecord
from trimtab.planner.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A store with an artefact in use and one that is not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRIMTAB_STORE", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "trimtab-store").mkdir()
    with open_store() as store:
        used = store.save_bytes(b"used", kind="model", name="used.onnx")
        store.put_variant(VariantRecord("v", "m", "n", "onnx", used.sha256, 4, {}, {}))
        store.save_bytes(b"x" * 2**20, kind="bundle", name="old\x1b.pyz")
    return tmp_path


def open_store():
    return Store.open("trimtab-store/trimtab.db")


def kept():
    with open_store() as store:
        return [record.kind for record in store.list_artefacts()]


@pytest.fixture
def gc(folder, capsys, monkeypatch):
    """Run the command: (exit status, output, errors)."""

    def run(*arguments, answer=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        status = main(["gc", *arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_it_shows_and_asks(gc):
    status, text, _ = gc(answer="n\n")
    assert status == 0
    line = next(line for line in text.splitlines() if line.startswith("bundle"))
    assert line.split()[:4] == ["bundle", "old\N{REPLACEMENT CHARACTER}.pyz", "1.0", "MB"]
    assert "Nothing refers to 1 file, 1.0 MB." in text
    assert "used.onnx" not in text
    assert "Nothing was removed." in text
    assert kept() == ["bundle", "model"]

    status, text, _ = gc(answer="y\n")
    assert status == 0
    assert "Removed 1 file, 1.0 MB." in text
    assert kept() == ["model"]
    assert gc() == (0, "Nothing to remove.\n", "")


def test_nobody_there_to_ask_removes_nothing(gc):
    assert gc()[0] == 130
    assert kept() == ["bundle", "model"]


def test_dry_run_and_yes(gc):
    status, text, _ = gc("--dry-run")
    assert (status, "Nothing refers to 1 file" in text, "Removed" in text) == (0, True, False)
    assert kept() == ["bundle", "model"]
    assert gc("--yes")[0] == 0
    assert kept() == ["model"]


def test_json(gc):
    status, _, errors = gc("--format", "json")
    assert status == 2
    assert "add --yes or --dry-run" in errors

    shown = json.loads(gc("--format", "json", "--dry-run")[1])
    assert [item["kind"] for item in shown["unreferenced"]] == ["bundle"]
    assert (shown["total_bytes"], shown["removed"]) == (2**20, [])
    done = json.loads(gc("--format", "json", "--yes")[1])
    assert done["removed"] == [shown["unreferenced"][0]["path"]]
    assert done["removed_bytes"] == 2**20


def test_files_that_the_store_does_not_know_go_only_when_told_so(gc):
    with open_store() as store:
        path = store.artefacts.path(store.artefacts.put_bytes(b"stray"))
    then = time.time() - 3 * 86_400
    os.utime(path, (then, then))

    status, text, _ = gc("--yes")
    assert status == 0
    assert "does not know 1 file, 0.0 MB (stray): --strays removes them too" in text
    assert "3 days" in text
    assert path.exists()
    assert gc("--yes", "--strays")[0] == 0
    assert not path.exists()


def test_a_missing_file_is_a_problem(gc):
    with open_store() as store:
        (record,) = store.list_artefacts(kind="model")
        store.artefacts.path(record.sha256).unlink()
    status, text, _ = gc("--dry-run")
    assert status == 1
    assert f"Missing, but referred to: model used.onnx ({record.sha256})" in text


def test_it_waits_for_running_jobs_and_makes_no_store(gc, tmp_path_factory, monkeypatch):
    with open_store() as store, store.lease("dev", holder="job j1 (camera)"):
        status, _, errors = gc("--yes")
    assert status == 1
    assert "'job j1 (camera)' is running with this store" in errors
    assert kept() == ["bundle", "model"]

    empty = tmp_path_factory.mktemp("empty")  # with no store in a folder above
    monkeypatch.chdir(empty)
    status, _, errors = gc("--yes")
    assert status == 1
    assert "there is no store" in errors
    assert list(empty.iterdir()) == []
