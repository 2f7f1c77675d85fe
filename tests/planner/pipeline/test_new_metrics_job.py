"""A whole job about a quality and a cost that the product does not have: each is a definition and
one class in a copy of the source, and everything that measures, decides and shows knows them."""

import csv
import io
import json
import os
import subprocess
import sys

import pytest
from new_metrics import KAPPA, START, extended_source
from sample_models import INPUT, write_onnx, write_photos

JOB = """
import json, sys
import trimtab
from trimtab_runtime.probe.requests import MeasureSettings

if __name__ == "__main__":
    quick = MeasureSettings(seconds=0.1, max_seconds=5, min_rounds=8, warmup_seconds=0.02)
    with open(sys.argv[1]) as file, trimtab.Store.open(sys.argv[2]) as store:
        record = trimtab.plan(json.load(file), store, settings=quick)
        found = [
            {"chosen": entry.plan.is_chosen, "key": entry.plan.key}
            | {"/".join(name): [m.value, m.low, m.high] for name, m in entry.metrics.items()}
            for entry in store.list_plans(record.id)
        ]
    print(json.dumps(found))
"""
CLI = "import sys; from trimtab.planner.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.slow
def test_a_job_about_a_new_quality_and_a_new_cost(tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": str(extended_source(tmp_path)),
        "TRIMTAB_CACHE": str(tmp_path / "cache"),
    }
    for name, width in (("small", 2), ("large", 16)):
        write_onnx(tmp_path / f"{name}.onnx", width=width)
    write_photos(tmp_path / "photos", 60)
    spec = {
        "name": "new metrics",
        "models": [
            {"path": str(tmp_path / f"{name}.onnx"), "input": INPUT} for name in ("small", "large")
        ],
        "workload": {
            "images": str(tmp_path / "photos"),
            "splits": {"fit": 20, "tune": 20, "test": 20},
        },
        "objectives": {KAPPA.name: "max", START.name: "min", "latency_mean_ms": "min"},
        "constraints": [f"{KAPPA.name} >= baseline - 0.5", f"{START.name} <= 100000"],
        "techniques": {"quantisation": []},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 2},
        "together": 4,
        "verify": 1,
    }
    (tmp_path / "job.json").write_text(json.dumps(spec))
    (tmp_path / "job.py").write_text(JOB)
    store = str(tmp_path / "store" / "trimtab.db")

    def said(*command):
        done = subprocess.run(
            [sys.executable, *command],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    plans = json.loads(said("job.py", "job.json", store).splitlines()[-1])
    (chosen,) = (plan for plan in plans if plan["chosen"])
    value, low, high = chosen[f"{KAPPA.name}/test/replayed"]
    assert -1 <= low <= value <= high <= 1
    assert chosen[f"{KAPPA.name}/tune/guarded"][0] <= 1.0
    assert all(plan[f"{START.name}/tune/predicted"][0] > 0 for plan in plans)
    assert "latency_mean_ms/test/measured" in chosen  # its bundle ran, and read its manifest

    shown = said("-c", CLI, "--store", store, "show", chosen["key"][:8])
    assert KAPPA.name in shown
    assert START.name in shown
    table = said("-c", CLI, "--store", store, "front", "--format", "csv")
    columns = csv.DictReader(io.StringIO(table)).fieldnames
    assert {f"{KAPPA.name}_tune_guarded", f"{START.name}_predicted"} <= set(columns)
    said("-c", CLI, "--store", store, "front", "--plot", str(tmp_path / "front.html"))
    assert START.label in (tmp_path / "front.html").read_text(encoding="utf-8")
