"""Jobs that run in the background: started, told apart, stopped, and what became of them."""

import os
import signal
import subprocess
import sys

import pytest
import yaml
from processes import until

from trimtab.db import Store
from trimtab.planner.jobs.background import (
    checked_fields,
    failure_of,
    read_uploaded,
    start_job,
    start_of,
    starts,
    stop_job,
)
from trimtab.planner.specification.job import load_spec
from trimtab.planner.specification.yaml_file import field_line
from trimtab_runtime.errors import PlanningError, SpecificationError


def test_an_uploaded_specification_is_the_file_itself(tools, tmp_path):
    tools.write_zoo(tmp_path)
    content = (tmp_path / "job.yaml").read_bytes()
    assert read_uploaded(content, tmp_path) == load_spec(tmp_path / "job.yaml")


def test_paths_may_lead_out_of_the_folder(tools, tmp_path):
    spec = tools.write_zoo(tmp_path / "zoos")
    spec["models"][0]["path"] = "../zoos/zoo/small.onnx"
    spec["workload"]["images"] = str(tmp_path / "zoos" / "photos")
    (tmp_path / "zoos" / "job.yaml").write_text(yaml.safe_dump(spec))
    assert checked_fields(spec, tmp_path / "zoos") == load_spec(tmp_path / "zoos" / "job.yaml")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"name: [", "specification: not valid YAML"),
        (b"- 1", "specification: got a list; a specification has fields"),
        (b"", "specification: the file is empty"),
        (b"name: x\nobjectivs: {}", "objectivs: unknown field; did you mean 'objectives'?"),
        (b"\xff\xfe\x00", "specification: cannot be read"),
    ],
)
def test_what_is_wrong_is_told_by_field(tmp_path, content, told):
    with pytest.raises(SpecificationError) as caught:
        read_uploaded(content, tmp_path)
    assert told in str(caught.value)
    assert "trimtab-upload-" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("name", 0),
        ("models[1].input.size", 4),
        ("models[1].output.kind", 3),
        ("models[7].path", 1),
        ("constraints[0]", 6),
        ("workload", None),
        ("specification", None),
    ],
)
def test_a_field_is_found_in_its_file(path, line):
    text = """name: x
models:
  - {path: a.onnx}
  - path: b.onnx
    input: {size: big}
constraints:
  - top1 >>= 3
"""
    assert field_line(text, path) == line


def test_no_line_of_what_is_no_yaml():
    assert field_line("name: [", "name") is None


def test_what_is_not_there_is_told_by_field(tools, tmp_path):
    spec = tools.write_zoo(tmp_path)
    spec["models"][1]["path"] = "zoo/gone.onnx"
    spec["workload"]["images"] = "nowhere"
    with pytest.raises(SpecificationError) as caught:
        checked_fields(spec, tmp_path)
    lines = str(caught.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["models[1].path", "workload.images"]
    with pytest.raises(SpecificationError, match="folder: no such folder"):
        checked_fields(spec, tmp_path / "gone")


def test_a_start_that_comes_to_nothing_says_why(tools, tmp_path):
    spec = load_spec(tools.write_zoo(tmp_path) and tmp_path / "job.yaml")
    splits = spec.workload.splits.model_copy(update={"fit": 4000.0})
    work = spec.workload.model_copy(update={"splits": splits})
    path = tmp_path / "store" / "trimtab.db"
    begun = start_job(spec.model_copy(update={"workload": work}), str(path), None)
    with Store.open(path, read_only=True) as store:
        until(lambda: not starts(store)[0].runs)
        (found,) = starts(store)
        assert (found.pid, found.name) == (begun.pid, spec.name)
        assert "4000" in failure_of(store, found)
        assert store.list_jobs() == []


def test_a_job_keeps_the_order_of_its_objectives(tools, tmp_path):
    """The first cost is the one that a plan is chosen by."""
    objectives = {"top1": "max", "peak_memory_mb": "min", "latency_mean_ms": "min"}
    tools.write_zoo(tmp_path, objectives=objectives)
    begun = start_job(load_spec(tmp_path / "job.yaml"), str(tmp_path / "trimtab.db"), None)
    until(lambda: not begun.runs or _job_of(tmp_path))
    (job,) = _job_of(tmp_path)
    os.kill(begun.pid, signal.SIGINT)
    until(lambda: not begun.runs)
    assert list(load_spec(begun.folder / "job.yaml").objectives) == list(objectives)
    assert list(job.spec["objectives"]) == list(objectives)


def _job_of(folder):
    with Store.open(folder / "trimtab.db", read_only=True) as store:
        return store.list_jobs()


def test_only_what_was_started_here_can_be_stopped(tools, finished):
    with Store.open(finished / "store" / "trimtab.db", read_only=True) as store:
        (job,) = store.list_jobs()
        with pytest.raises(PlanningError, match="not started by this dashboard; stop it"):
            stop_job(store, job)


def test_a_job_outlives_who_started_it_and_can_be_stopped(tools, tmp_path):
    """Its starter ignores Ctrl-C, as what a shell runs in the background does, and is gone."""
    tools.write_zoo(tmp_path, together=12)
    path = tmp_path / "store" / "trimtab.db"
    code = f"""
import signal
from pathlib import Path
from trimtab.planner.specification.job import load_spec
from trimtab.planner.jobs.background import start_job
signal.signal(signal.SIGINT, signal.SIG_IGN)
start_job(load_spec(Path({str(tmp_path / "job.yaml")!r})), {str(path)!r}, None)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=tools.environment())
    with Store.open(path, read_only=True) as store:

        def running():
            return [job for job in store.list_jobs() if start_of(store, job) is not None]

        (job,) = until(running)
        stop_job(store, job)
        until(lambda: not starts(store)[0].runs)
        assert store.get_job(job.id).state == "interrupted"
        assert failure_of(store, starts(store)[0]) is None
        assert starts(store)[0].status == 130
