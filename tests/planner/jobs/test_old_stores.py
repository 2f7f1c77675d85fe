"""Stores of released versions live on: they open, show, export and resume, and nothing in them is
measured or built again. Over both engines; fixtures/make.py says how such a store is made."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnxruntime
import pytest
from killing import committed
from old_stores import OldStore, arithmetic, old_specs, restore
from postgres_server import Postgres, running_postgres
from typer.testing import CliRunner

from trimtab.db import Store
from trimtab.planner.cli import app
from trimtab.planner.jobs.lifecycle import job_id_of
from trimtab.planner.specification.job import JobSpec

ARCHIVES = sorted((Path(__file__).parents[1] / "fixtures").glob("store_*.tar.xz"))
#: What is fitted anew on resume, on what the store holds: heads and routers, sums of damages.
FITTED = {"everything", "slim", "everything-cut"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def archive(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def old(
    request: pytest.FixtureRequest,
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> OldStore:
    folder = tmp_path / "home"
    folder.mkdir()
    if request.param == "sqlite":
        place = str(tmp_path / "store.db")
    else:
        place = request.getfixturevalue("postgres").emptied()
    found = restore(archive, folder, place)
    # What an engine builds is rightly built again with another version of it.
    monkeypatch.setattr(onnxruntime, "__version__", found.made["onnxruntime"])
    return found


def compare_fits(old: OldStore, name: str) -> None:
    if name in FITTED and old.made["arithmetic"] != arithmetic():
        pytest.skip("this machine rounds otherwise than the one that made the store")


def plan_keys(store: Store, job_id: str) -> list[str]:
    return [entry.plan.key for entry in store.list_plans(job_id)]


def test_ids_of_jobs_are_those_of_today(archive: Path) -> None:
    for job_id, spec, device, workload in old_specs(archive):
        assert job_id_of(JobSpec.model_validate(spec), device, workload) == job_id


@pytest.mark.parametrize("name", ["plain", "everything", "slim"])
def test_a_finished_job_measures_and_builds_nothing_again(old: OldStore, name: str) -> None:
    compare_fits(old, name)
    with old.open() as store:
        before, plans = committed(store), plan_keys(store, old.jobs[name])
        job = store.get_job(old.jobs[name])
        assert job is not None and job.state == "done" and plans
        again, device = old.resume(store, name)
        assert (again.id, again.state) == (job.id, "done")
        assert again.summary["chosen"] == job.summary["chosen"]
        assert set(device.asked) == {"fingerprint"}
        assert committed(store) == before
        assert plan_keys(store, job.id) == plans
        assert len(store.list_jobs()) == len(old.jobs)


@pytest.mark.parametrize("name", ["plain-cut", "everything-cut"])
def test_a_killed_job_measures_only_what_was_missing(old: OldStore, name: str) -> None:
    compare_fits(old, name)
    with old.open() as store:
        before = committed(store)
        again, device = old.resume(store, name)
        after = committed(store)
        assert (again.id, again.state) == (old.jobs[name], "done")
        assert not device.unknown
        assert before.items() <= after.items()
        new = [kind for kind, *_ in after.keys() - before.keys()]
        assert device.count("measure", "race") == new.count("measurement") > 0
        assert device.count("trace", "features") == new.count("trace")
        assert device.count("verify") >= new.count("verification") > 0
        states = {found.state for found in store.list_verifications(again.id)}
        assert states == {"ok"}
        built = [
            (variant.name, variant.recipe["step"], variant.recipe.get("images"))
            for variant in store.list_variants()
            if variant.recipe["step"] in ("member", "w8a8")
        ]
        assert len(set(built)) == len(built)


def test_the_command_line_reads_it(old: OldStore, tmp_path: Path) -> None:
    old.open().close()  # as the first command that writes: brings the tables up to date
    where = ["--store", old.place, "--artefacts", str(old.artefacts)]

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, [*where, *words])
        assert done.exit_code == 0, done.output
        return done.output

    jobs = {line["name"]: line["state"] for line in json.loads(run("jobs", "--format", "json"))}
    assert jobs == {name: "killed" if "cut" in name else "done" for name in old.jobs}
    with old.open(read_only=True) as store:
        plans = {
            name: [entry.plan for entry in store.list_plans(old.jobs[name])]
            for name, state in jobs.items()
            if state == "done"
        }
        verified = {
            found.plan_key for name in plans for found in store.list_verifications(old.jobs[name])
        }
    for name, found in plans.items():
        shown = json.loads(run("front", name, "--all", "--format", "json"))
        assert {line["label"] for line in shown["rows"]} == {plan.label for plan in found}
        for plan in found:
            assert plan.label in run("show", plan.key[:12])
    for is_verified in (True, False):
        plan = next(p for p in plans["everything"] if (p.key in verified) == is_verified)
        bundle = tmp_path / f"{is_verified}.pyz"
        run("export", plan.key[:12], "-o", str(bundle))
        tested = subprocess.run(
            [sys.executable, str(bundle), "selftest"], capture_output=True, text=True, check=False
        )
        assert tested.returncode == 0, tested.stdout + tested.stderr
