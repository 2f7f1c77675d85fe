"""Jobs whose variants are made on a cluster: the same plans and files as without."""

import os
import subprocess
import sys
from importlib.util import find_spec

import psutil
import pytest
import yaml
from killing import SETTINGS
from sample_models import INPUT, write_onnx, write_photos
from slimming_models import write_inception

import trimtab
from trimtab.db import Store

with_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="the extra `cluster` is not installed"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    write_inception(folder / "inception.onnx")
    write_onnx(folder / "plain.onnx", width=4)
    write_photos(folder / "photos", 90)
    return folder


def specification(home, **changes):
    return {
        "name": "on a cluster",
        "models": [
            {"path": str(home / f"{name}.onnx"), "input": INPUT} for name in ("inception", "plain")
        ],
        "workload": {
            "images": str(home / "photos"),
            "splits": {"fit": 30, "tune": 30, "test": 30},
        },
        "objectives": {"top1": "max", "latency_mean_ms": "min"},
        "techniques": {"cascade": False, "quantisation": ["w8a8"], "slimming": ["streamline"]},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 5},
        "verify": 1,
        **changes,
    }


def planned(home, place, machine, **changes):
    """A job in a store of its own: its record, its plans and its artefacts by content."""
    with Store.open(place / "trimtab.db") as store:
        job = trimtab.plan(
            specification(home, **changes),
            store,
            settings=SETTINGS,
            device=machine,
            setup="ignored",
        )
        plans = {e.plan.key: e.plan.definition for e in store.list_plans(job.id)}
        variants = {(v.key, v.artefact_sha256) for v in store.list_variants()}
        events = [event.text for event in store.list_events(job.id)]
    return job, plans, variants, events


@with_ray
@pytest.mark.slow
def test_plans_and_files_are_the_same_with_and_without(home, machine, tmp_path):
    places = [tmp_path / name for name in ("here", "there")]
    for place in places:
        place.mkdir()
    alone, plans, variants, _ = planned(home, places[0], machine)
    job, its_plans, its_variants, events = planned(home, places[1], machine, cluster="auto")
    assert job.id == alone.id and job.state == "done"
    assert its_plans == plans and variants <= its_variants
    assert any(text.startswith("variants are made on 1 node(s)") for text in events)
    assert not [
        process.pid
        for process in psutil.Process().children(recursive=True)
        if "raylet" in process.name()
    ]


@pytest.mark.slow
@with_ray
def test_a_cluster_that_is_not_there_ends_the_job_with_the_remedy(home, tmp_path):
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(specification(home)))
    command = "import sys; from trimtab.planner.cli import main; sys.exit(main())"
    found = subprocess.run(
        [sys.executable, "-c", command, "plan", "job.yaml", "--cluster", "127.0.0.1:9"],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1
    assert "no cluster answers at 127.0.0.1:9" in found.stderr
    assert "`ray start --head`" in found.stderr and "Traceback" not in found.stderr


def test_without_ray_the_extra_is_named(home, tmp_path):
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(specification(home, cluster="auto")))
    hidden = "import sys; sys.modules['ray'] = None; "  # as where it is not installed
    command = hidden + "from trimtab.planner.cli import main; sys.exit(main())"
    found = subprocess.run(
        [sys.executable, "-c", command, "plan", "job.yaml"],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1
    assert "pip install 'trimtab[cluster]'" in found.stderr
    with Store.open(tmp_path / "trimtab-store" / "trimtab.db") as store:
        assert store.list_jobs() == []  # it has not begun
