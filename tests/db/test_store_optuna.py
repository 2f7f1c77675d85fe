"""Optuna's tables and ours in one database; over both engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import optuna
import pytest
from sqlalchemy import inspect

from trimtab.db import JobRecord, Store
from trimtab.db._engine import Location


@contextmanager
def storage(url: str) -> Iterator[optuna.storages.RDBStorage]:
    opened = optuna.storages.RDBStorage(url)
    try:
        yield opened
    finally:
        opened.remove_session()
        opened.engine.dispose()


@pytest.fixture
def study() -> Iterator[Callable[[Store], optuna.Study]]:
    """Opens the same study in a store's database; leaves no connection."""
    with ExitStack() as stack:

        def open_study(store: Store) -> optuna.Study:
            opened = stack.enter_context(storage(store.url))
            return optuna.create_study(storage=opened, study_name="outer", load_if_exists=True)

        yield open_study


@pytest.mark.parametrize("optuna_first", [True, False], ids=["optuna first", "store first"])
def test_both_live_in_one_database(
    place: str,
    reopen: Callable[..., Store],
    study: Callable[[Store], optuna.Study],
    optuna_first: bool,
) -> None:
    if optuna_first:
        url = Location.parse(place).url.render_as_string(hide_password=False)
        with storage(url):
            pass
    store = reopen()
    outer = study(store)
    outer.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    store.add_job(JobRecord("j1", "one", {}, "aa"))

    again = reopen()
    assert [job.id for job in again.list_jobs()] == ["j1"]
    assert len(study(again).trials) == 3
    with again.transaction() as connection:
        names = set(inspect(connection).get_table_names())
        assert {"alembic_version", "trimtab_version", "trials", "trimtab_job"} <= names
        ours = {name for name in names if name.startswith("trimtab_")}
        assert len(ours) == 16


def test_both_write_while_the_other_is_open(
    store: Store, study: Callable[[Store], optuna.Study]
) -> None:
    outer = study(store)
    store.add_job(JobRecord("j1", "one", {}, "aa"))

    def objective(trial: optuna.Trial) -> float:
        store.update_job("j1", progress={"trial": trial.number})
        return trial.suggest_float("x", 0, 1)

    outer.optimize(objective, n_trials=4)
    job = store.get_job("j1")
    assert job is not None
    assert job.progress == {"trial": 3}
