"""Ctrl-C, as a terminal sends it: to the command and to the probe that it waits for; SIGTERM."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
import yaml
from killing import leftovers, small_job
from processes import left_after

from trimtab.db import Store
from trimtab.planner.pipeline.job import opened_run
from trimtab.planner.specification.job import load_spec

_CALL = [
    sys.executable,
    "-c",
    "import sys; from trimtab.planner.cli import main; sys.exit(main())",
]


@pytest.fixture
def home(tmp_path):
    spec = small_job(tmp_path) | {"budget": {"measurements": 3}, "verify": 0}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    for part in ("temp", "cache"):
        (tmp_path / part).mkdir()
    return tmp_path


def start(home, **options):
    places = {"TMPDIR": str(home / "temp"), "TRIMTAB_CACHE": str(home / "cache")}
    command = [*_CALL, "--store", "store/trimtab.db", "plan", "job.yaml"]
    return subprocess.Popen(
        command,
        cwd=home,
        env={**os.environ, **places},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
        **options,
    )


def heed_ctrl_c():
    """As in a terminal: what a shell runs in the background inherits that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["measuring", "tracing"])
def test_it_says_how_to_go_on_and_leaves_nothing(home, moment):
    with start(home, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        for line in process.stderr:
            if line.startswith(moment):
                break
        while not (probes := psutil.Process(process.pid).children()):
            pass
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130, rest
    assert "resume with `trimtab --store store/trimtab.db plan job.yaml`" in rest
    assert "Traceback" not in rest
    assert left_after(probes) == [], "a probe outlives the command"
    with Store.open(home / "store" / "trimtab.db") as store:
        (job,) = store.list_jobs()
        assert job.state == "interrupted"
        assert job.message == "stopped by the user; run the same command again to resume"
    assert [left for left in leftovers(home) if left != "1 trials in hand"] == []


@pytest.mark.slow
def test_the_same_command_goes_on(home):
    with start(home, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        while not process.stderr.readline().startswith("tracing"):
            pass
        os.killpg(process.pid, signal.SIGINT)
        process.stderr.read()
    with Store.open(home / "store" / "trimtab.db") as store:
        kept = [m.created_at for m in store.list_measurements()]
    with start(home, stdout=subprocess.PIPE) as process:
        told, problems = process.communicate()
    assert process.returncode == 0, problems
    assert "chosen" in told
    with Store.open(home / "store" / "trimtab.db") as store:
        assert [m.created_at for m in store.list_measurements()][: len(kept)] == kept
        assert [job.state for job in store.list_jobs()] == ["done"]
    assert leftovers(home) == []


@pytest.mark.slow
def test_sigterm_ends_a_job_as_ctrl_c_does(home):
    with start(home, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        for line in process.stderr:
            if line.startswith("measuring"):
                break
        while not (probes := psutil.Process(process.pid).children()):
            pass
        process.terminate()  # the command alone: nobody else tells its probe
        rest = process.stderr.read()
    assert process.returncode == 143, rest
    assert "resume with `trimtab --store store/trimtab.db plan job.yaml`" in rest
    assert "Traceback" not in rest
    assert left_after(probes) == [], "a probe outlives the command"
    with Store.open(home / "store" / "trimtab.db") as store:
        (job,) = store.list_jobs()
        assert job.state == "interrupted"
        assert job.message == "stopped by SIGTERM; run the same command again to resume"
    assert [left for left in leftovers(home) if left != "1 trials in hand"] == []


def break_off(store):
    """Ctrl-C at the worst moment: a transaction is written, and not yet ended."""
    transaction = store.transaction(write=True)
    transaction.__enter__()
    raise KeyboardInterrupt


def test_a_transaction_that_it_breaks_off_locks_nobody_out(home):
    spec = load_spec(home / "job.yaml")
    with Store.open(home / "store" / "trimtab.db", busy_timeout_s=0.5) as store:
        with pytest.raises(KeyboardInterrupt), opened_run(spec, store):
            break_off(store)
        (job,) = store.list_jobs()
        assert job.state == "interrupted"
        assert store.list_leases() == []
