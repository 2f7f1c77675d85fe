"""Opening, migrating, refusing and racing; over both engines."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from filelock import FileLock
from sqlalchemy import create_engine, inspect, text

from trimtab.db import ArtefactRecord, DeviceRecord, Store, VariantRecord
from trimtab.db._engine import Location, connect
from trimtab.db._migrate import MIGRATIONS, VERSION_TABLE, _newest, upgrade
from trimtab.db.schema import Base
from trimtab_runtime.errors import StoreError

SHA = "ab" * 32
HEAD = str(_newest(MIGRATIONS))
NEXT = f"{int(HEAD) + 1:04}"
HEADER = f"""
import sqlalchemy as sa
from alembic import op
revision, down_revision = "{NEXT}", "{HEAD}"
"""
REBUILD = f"""{HEADER}
def upgrade():
    with op.batch_alter_table("trimtab_artefact", recreate="auto") as table:
        table.alter_column("name", new_column_name="title")
        table.add_column(sa.Column("note", sa.String()))
"""
FAIL = f"""{HEADER}
def upgrade():
    op.create_table("trimtab_new", sa.Column("x", sa.Integer()))
    op.execute("SELECT no_such_column FROM trimtab_job")
"""
HANG = f"""{HEADER}
def upgrade():
    op.create_table("trimtab_new", sa.Column("x", sa.Integer()))
    print("in the middle", flush=True)
    input()
"""
MIGRATE = """
import sys; from pathlib import Path
from trimtab.db._engine import Location, connect; from trimtab.db._migrate import upgrade
location = Location.parse(sys.argv[1])
upgrade(connect(location, read_only=False, busy_timeout_s=30), location, 30, Path(sys.argv[2]))
"""
OPEN = """
import sys; from trimtab.db import Store, JobRecord
print("ready", flush=True); input()
with Store.open(sys.argv[1]) as store:
    store.add_job(JobRecord(sys.argv[2], "race", {}, "aa"))
print("opened", flush=True)
"""


@pytest.fixture
def with_next(tmp_path: Path) -> Callable[[str], Path]:
    """The migrations of a later Trimtab: ours and one more."""

    def copy(source: str) -> Path:
        folder = tmp_path / "migrations"
        shutil.copytree(MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / f"v{NEXT}_next.py").write_text(source)
        return folder

    return copy


def migrate(place: str, migrations: Path) -> None:
    location = Location.parse(place)
    engine = connect(location, read_only=False, busy_timeout_s=30)
    try:
        upgrade(engine, location, 30, migrations)
    finally:
        engine.dispose()


def tables(place: str) -> set[str]:
    engine = create_engine(Location.parse(place).url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def version(place: str) -> str:
    engine = create_engine(Location.parse(place).url)
    try:
        with engine.connect() as connection:
            return str(connection.execute(text(f"SELECT * FROM {VERSION_TABLE}")).scalar_one())
    finally:
        engine.dispose()


def test_the_migrations_make_the_tables_of_the_schema(store: Store) -> None:
    def ours(item: Any, name: str | None, kind: str, *rest: Any) -> bool:
        return not (kind == "table" and name == VERSION_TABLE)

    options = {"compare_type": True, "include_object": ours}
    with store.transaction() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_a_store_opened_again_is_as_it_was(reopen: Callable[..., Store]) -> None:
    reopen().put_device(DeviceRecord("dev", "local", {}))
    assert [device.key for device in reopen().list_devices()] == ["dev"]


def test_a_newer_store_is_refused(
    store: Store,
    place: str,
    reopen: Callable[..., Store],
    with_next: Callable[[str], Path],
) -> None:
    store.close()
    migrate(place, with_next(HEADER + "def upgrade(): pass"))

    for read_only in (False, True):
        with pytest.raises(
            StoreError, match=rf"newer Trimtab \(tables of version {NEXT}, this one"
        ):
            reopen(read_only=read_only)
    assert version(place) == NEXT


def test_an_older_store_is_brought_up_to_date_with_what_it_holds(
    store: Store, place: str, with_next: Callable[[str], Path]
) -> None:
    store.put_artefact(ArtefactRecord(SHA, "onnx", 1, "a.onnx"))
    store.put_variant(VariantRecord("var", "m", "n", "onnx", SHA, 1, {}, {}))
    store.close()
    migrate(place, with_next(REBUILD))

    assert version(place) == NEXT
    with store.transaction() as connection:
        found = connection.execute(text("SELECT sha256, title, note FROM trimtab_artefact"))
        assert found.fetchall() == [(SHA, "a.onnx", None)]
        kept = connection.execute(text("SELECT artefact_sha256 FROM trimtab_variant"))
        assert kept.scalar_one() == SHA
    with pytest.raises(StoreError, match="does not hold"):
        store.put_variant(VariantRecord("v2", "m", "n", "onnx", "cd" * 32, 1, {}, {}))


def test_a_migration_that_fails_leaves_nothing(
    store: Store, place: str, with_next: Callable[[str], Path], reopen: Callable[..., Store]
) -> None:
    store.put_device(DeviceRecord("dev", "local", {}))
    store.close()
    before = tables(place)
    with pytest.raises(Exception, match="no_such_column"):
        migrate(place, with_next(FAIL))

    assert tables(place) == before
    assert version(place) == HEAD
    assert reopen().get_device("dev") is not None


def test_a_migration_that_is_killed_leaves_nothing(
    store: Store,
    place: str,
    with_next: Callable[[str], Path],
    second: Callable[..., Any],
    reopen: Callable[..., Store],
) -> None:
    store.close()
    before = tables(place)
    migrating = second(MIGRATE, place, str(with_next(HANG)))
    assert migrating.hear() == "in the middle"
    migrating.kill()

    reopen()
    assert tables(place) == before
    assert version(place) == HEAD


def test_processes_that_open_a_new_store_at_once_all_succeed(
    place: str, second: Callable[..., Any], reopen: Callable[..., Store]
) -> None:
    racers = [second(OPEN, place, f"job-{number}") for number in range(4)]
    assert [racer.hear() for racer in racers] == ["ready"] * 4
    for racer in racers:
        racer.say()

    assert [racer.hear() for racer in racers] == ["opened"] * 4
    assert len(reopen().list_jobs()) == 4


def test_a_store_that_another_is_opening_is_waited_for(tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / "store.db.lock"),
        pytest.raises(StoreError, match="is being opened by another process"),
    ):
        Store.open(tmp_path / "store.db", busy_timeout_s=0.05)
    Store.open(tmp_path / "store.db", busy_timeout_s=0.05).close()


def test_reading_only_changes_nothing(
    store: Store, reopen: Callable[..., Store], place: str, tmp_path: Path
) -> None:
    store.put_device(DeviceRecord("dev", "local", {}))
    store.close()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    reader = reopen(read_only=True)

    assert reader.get_device("dev") is not None
    with pytest.raises(StoreError, match="open for reading only"):
        reader.put_device(DeviceRecord("dev", "elsewhere", {}))
    with pytest.raises(StoreError, match="read-only"), reader.transaction() as connection:
        connection.execute(text("DELETE FROM trimtab_device"))
    with pytest.raises(StoreError, match="open for reading only"):
        reader.save_bytes(b"x", kind="onnx", name="x")
    assert reader.get_device("dev") is not None
    reader.close()
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_reading_only_creates_nothing(place: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no store|holds no Trimtab store"):
        Store.open(place, artefacts=tmp_path / "artefacts", read_only=True)
    assert list(tmp_path.iterdir()) == []
    assert Path(place).suffix == ".db" or tables(place) == set()


def test_reading_only_does_not_migrate(place: str, reopen: Callable[..., Store]) -> None:
    engine = create_engine(Location.parse(place).url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE studies (x INTEGER)"))
    engine.dispose()

    with pytest.raises(StoreError, match="holds no Trimtab store"):
        reopen(read_only=True)
    assert tables(place) == {"studies"}


def test_addresses_that_are_no_store(tmp_path: Path) -> None:
    for bad in (":memory:", "sqlite://", "sqlite:///:memory:", ""):
        with pytest.raises(StoreError, match="needs a file"):
            Store.open(bad)
    with pytest.raises(StoreError, match="got mysql"):
        Store.open("mysql://root@localhost/x")
    with pytest.raises(StoreError, match="not a database URL"):
        Store.open("postgresql://host:port/x")
    (tmp_path / "text.db").write_text("this is a text, and rather long" * 50)
    with pytest.raises(StoreError, match="is no sound database"):
        Store.open(tmp_path / "text.db")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be created"):
        Store.open(tmp_path / "file" / "store.db")


def test_a_path_with_odd_letters_and_missing_folders(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "100%? #é.db"
    for address in (path, str(path)):
        with Store.open(address) as store:
            store.put_device(DeviceRecord("dev", "local", {}))
            assert store.save_bytes(b"x", kind="npz", name="x").size_bytes == 1
            assert store.artefacts.folder == path.parent / "artefacts"
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_postgresql_is_named_without_its_password_and_has_no_place_for_files(
    postgres_url: str,
) -> None:
    address = postgres_url.replace("postgres@", "postgres:secret@")
    with Store.open(address) as store:
        assert "secret" not in repr(store)
        assert "secret" in store.url
        with pytest.raises(StoreError, match="artefacts=FOLDER"):
            store.save_bytes(b"x", kind="onnx", name="x")


def test_a_postgresql_that_is_not_there(postgres_url: str) -> None:
    with pytest.raises(StoreError, match="cannot be reached"):
        Store.open("postgresql://postgres@127.0.0.1:1/none")
    with pytest.raises(StoreError, match="does not exist"):
        Store.open(postgres_url + "_none")
