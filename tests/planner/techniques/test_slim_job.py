"""Jobs that slim: from images to variants that stand among all others, with what they lost."""

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from killing import SETTINGS
from sample_models import INPUT, write_onnx, write_photos
from sample_tflite import write_tflite
from slimming_models import write_inception
from typer.testing import CliRunner

import trimtab
from trimtab.db import Store
from trimtab.planner.cli import app
from trimtab.planner.pipeline.job import opened_run
from trimtab.planner.reports.plan.report import report_plan
from trimtab.planner.specification.job import load_spec
from trimtab.planner.techniques.slimming.blocks import learn_blocks
from trimtab.search.block_sets import VARIANTS
from trimtab_runtime.errors import SpecificationError, StoreError

_CALL = [
    sys.executable,
    "-c",
    "import sys; from trimtab.planner.cli import main; sys.exit(main())",
]
RULES = ["streamline", "branch"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slim")
    write_inception(folder / "inception.onnx")
    write_onnx(folder / "plain.onnx", width=4)
    write_tflite(folder / "lite.tflite", 16, softmax=False)
    write_photos(folder / "photos", 90)
    return folder


def job(home, models=("inception.onnx",), fit=30, slimming=tuple(RULES), **changes):
    return {
        "name": "slim",
        "models": [{"path": str(home / name), "input": INPUT} for name in models],
        "workload": {
            "images": str(home / "photos"),
            "splits": {"fit": fit, "tune": 30, "test": 30},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "techniques": {"cascade": False, "quantisation": ["w8a8"], "slimming": list(slimming)},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 4},
        "verify": 2,
        **changes,
    }


@pytest.fixture(scope="module")
def done(home, machine):
    with Store.open(home / "trimtab.db") as store:
        yield (
            store,
            trimtab.plan(job(home), store, settings=SETTINGS, device=machine, setup="ignored"),
        )


def test_slimmed_variants_carry_what_they_lost_and_where_they_come_from(done):
    store, record = done
    told = record.summary["slimming"]["inception"]
    assert told["proposals"] >= told["saving"] >= len(told["blocks"]) > 0
    assert all(block["saved_ms"] > 0 and block["error"] >= 0 for block in told["blocks"])
    assert 1 <= len(told["built"]) <= VARIANTS
    variants = {variant.artefact_sha256: variant for variant in store.list_variants()}
    member = next(v for v in variants.values() if v.name == "inception")
    for entry in told["built"]:
        assert 0 <= entry["disagreement"] <= 1 and 0 <= entry["predicted_disagreement"] <= 1
        assert set(entry["quality"]["top1"]) == {"tune", "test"}
        recipe = variants[entry["sha256"]].recipe
        assert (recipe["step"], recipe["parent"], recipe["seed"]) == ("slim", member.key, 0)
        assert [part["note"] for part in recipe["parts"]] and recipe["inputs"]
        assert sorted(part["note"] for part in recipe["parts"]) == sorted(entry["parts"])
        for part in recipe["parts"]:
            assert part["rule"] in RULES
            assert part["error"] <= part["error_before"]


def test_they_are_candidates_like_any_other(done):
    store, record = done
    labels = {c.options["label"]: c.state for c in store.list_candidates(record.id)}
    assert labels["inception slim1 1t"] == labels["inception slim1 w8a8 1t"] == "measured"
    plans = {entry.plan.label for entry in store.list_plans(record.id)}
    assert "inception slim1 1t" in plans
    roles = {c.options["label"]: c.role for c in store.list_candidates(record.id)}
    assert roles["inception 1t"] == "baseline" and roles["inception slim1 1t"] == "candidate"


def test_the_same_job_again_builds_and_measures_nothing(done, home, machine):
    store, record = done
    before = [(m.key, m.created_at) for m in store.list_measurements()]
    variants = [variant.key for variant in store.list_variants()]
    again = trimtab.plan(job(home), store, settings=SETTINGS, device=machine, setup="ignored")
    assert again.id == record.id
    assert [(m.key, m.created_at) for m in store.list_measurements()] == before
    assert [variant.key for variant in store.list_variants()] == variants
    assert again.summary["slimming"] == record.summary["slimming"]


def test_nothing_learned_is_a_leftover(done):
    store, _ = done
    assert store.unreferenced().leftovers == []
    assert not any((store.artefacts.folder / ".learning").iterdir())


def test_a_job_that_goes_on_tries_as_many_blocks_as_before(done, home):
    """However much time the first run had, and the second has."""
    store, record = done
    assert record.summary["slimming"]["inception"]["tried"] > 1
    told = {}
    with opened_run(load_spec(job(home)), store, settings=SETTINGS) as run:
        (member,) = run.members()
        found = learn_blocks(run.job, member.built, 1, 0, {"tried": 1}, told.update)
    assert len(found.proposals) == told["tried"] == len(told["blocks"]) == 1


def test_show_tells_what_was_replaced_and_whether_it_pays(done, home):
    store, record = done
    entry = next(e for e in store.list_plans(record.id) if e.plan.label == "inception slim1 1t")
    told = report_plan(store, entry.plan)
    assert any("(streamline; unexplained" in line or "(branch; unexplained" in line
               for line in told.stages[0].lineage)  # fmt: skip
    assert "save time on this device" in told.slimming["inception"]
    shown = CliRunner().invoke(
        app, ["--store", str(home / "trimtab.db"), "show", entry.plan.key[:12]]
    )
    assert shown.exit_code == 0, shown.output
    assert "Slimming of inception:" in shown.output
    assert "top1" in told.slimming["inception"] and "on test" in told.slimming["inception"]


@pytest.mark.parametrize(
    ("models", "fit", "rules", "reason"),
    [
        (("lite.tflite",), 30, RULES, "only ONNX models can be slimmed, not TFLite files"),
        (("plain.onnx",), 30, ["branch"], "no slimming rule matches a region"),
        (("inception.onnx",), 5, RULES, "needs at least 8 inputs to be learned, got 5"),
    ],
)
def test_why_nothing_is_slimmed_is_said_and_the_job_goes_on(
    home, machine, tmp_path, models, fit, rules, reason
):
    with Store.open(tmp_path / "trimtab.db") as store:
        record = trimtab.plan(
            job(home, models, fit, rules, verify=0, budget={"measurements": 3}),
            store,
            settings=SETTINGS,
            device=machine,
            setup="ignored",
        )
        assert record.state == "done"
        (told,) = record.summary["slimming"].values()
        assert reason in told["reason"]
        notes = [e.text for e in store.list_events(record.id) if "not slimmed" in e.text]
        assert len(notes) == 1 and reason in notes[0]
        states = {c.state for c in store.list_candidates(record.id)}
        assert states == {"measured"}, "what does not exist has not failed"
        assert store.unreferenced().leftovers == []


def test_an_unknown_rule_is_told_with_its_place(home):
    with pytest.raises(SpecificationError, match=r"techniques\.slimming\[0\].*streamline"):
        trimtab.load_spec(job(home, slimming=["streamlin"]))
    spec = trimtab.load_spec(job(home) | {"techniques": {"slimming": True}})
    assert set(spec.techniques.slimming) > set(RULES)
    assert (
        trimtab.load_spec(job(home) | {"techniques": {"slimming": False}}).techniques.slimming
        == ()
    )


@pytest.mark.slow
def test_a_job_killed_while_it_learns_keeps_what_was_learned(home, tmp_path):
    spec = job(home, verify=0, budget={"measurements": 3})
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    command = [*_CALL, "--store", str(tmp_path / "trimtab.db"), "plan"]
    command += ["--force", str(tmp_path / "job.yaml")]  # untrained networks: a job would stop
    store = tmp_path / "trimtab.db"
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    learned: set[str] = set()
    while len(learned) < 2 and process.poll() is None:
        time.sleep(0.05)  # it needs the core more than we do
        if store.exists():
            learned = _learned(store)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(learned) >= 2
    with Store.open(store) as opened:
        record = trimtab.plan(spec, opened, settings=SETTINGS, setup="ignored")
        assert record.state == "done"
        assert record.summary["slimming"]["inception"]["built"]
        assert learned <= {v.key for v in opened.list_variants() if v.format == "learned"}


def _learned(path):
    try:
        with Store.open(path) as store:
            return {v.key for v in store.list_variants() if v.format == "learned"}
    except StoreError:  # not made yet
        return set()
