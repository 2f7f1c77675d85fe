"""The installed wheel, used where the user's own modules are called as our packages are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from distributions import ROOT, run, surroundings
from processes import PATIENCE_S, free_port, until
from sample_models import INPUT, write_onnx, write_photos

pytestmark = pytest.mark.slow

OWN = ("dashboard", "db", "planner", "profilers", "search", "variants", "workloads")

NETWORKS = f"""
import torch
from torch import nn
import {", ".join(OWN)}


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        assert {{room.OWNER for room in ({", ".join(OWN)})}} == {{"the user"}}
        torch.manual_seed(0)
        self.body = nn.Conv2d(3, search.WIDTH, 3, 2)
        self.head = nn.Linear(search.WIDTH, 4)

    def forward(self, x):
        return self.head(self.body(x).relu().mean((2, 3)))
"""

LIBRARY = f"""
import json
from pathlib import Path
import {", ".join(OWN)}
import trimtab, trimtab_runtime

owners = {{room.OWNER for room in ({", ".join(OWN)})}}
with trimtab.Store.open("store/trimtab.db") as store:
    spec = trimtab.load_spec("job.yaml").model_copy(update={{"name": "from a program"}})
    job = trimtab.plan(spec, store)
    trimtab.export_plan(store, job.summary["chosen"], Path("library.pyz"))
files = [trimtab.__file__, trimtab_runtime.__file__, trimtab.planner.__file__]
print(json.dumps({{"state": job.state, "owners": sorted(owners), "files": files}}))
"""

BACKGROUND = """
import json, time
import trimtab
from trimtab.planner.jobs.background import start_job, starts

spec = trimtab.load_spec("job.yaml").model_copy(update={"name": "in the background"})
begun = start_job(spec, "store/trimtab.db", None)
while begun.runs:
    time.sleep(0.1)
with trimtab.Store.open("store/trimtab.db", read_only=True) as store:
    (found,) = starts(store)
    jobs = {job.name: [job.state, list(job.spec["objectives"])] for job in store.list_jobs()}
print(json.dumps({"status": found.status, "log": found.log(), "jobs": jobs}))
"""


@dataclass(frozen=True)
class Home:
    """A user's folder, and the environment where the wheel is installed."""

    folder: Path
    environment: Path

    def trimtab(self, *words: str) -> str:
        """The installed command."""
        command = self.environment / "bin" / "trimtab"
        return self._run(command, "--store", "store/trimtab.db", *words)

    def python(self, *words: str) -> str:
        """The environment's Python, which has this folder first on its path."""
        return self._run(self.environment / "bin" / "python", *words)

    def _run(self, *command: object) -> str:
        return run(*command, folder=self.folder, TRIMTAB_CACHE=str(self.folder / "cache"))

    def jobs(self) -> dict[str, dict[str, Any]]:
        return {job["name"]: job for job in json.loads(self.trimtab("jobs", "--format", "json"))}


@pytest.fixture(scope="module")
def home(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """With models, photographs, a specification, and one job that was run."""
    folder = tmp_path_factory.mktemp("home")
    for name in OWN:
        path = folder / "search" / "__init__.py" if name == "search" else folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("OWNER = 'the user'\nWIDTH = 4\n", encoding="utf-8")
    (folder / "networks.py").write_text(NETWORKS, encoding="utf-8")
    write_onnx(folder / "small.onnx", width=4)
    write_photos(folder / "photos", 36)
    spec = {
        "name": "at home",
        "models": [
            {"path": "small.onnx", "input": INPUT},
            {"torch": {"entry": "networks:Own"}, "name": "own", "input": {**INPUT, "size": 32}},
        ],
        "workload": {"images": "photos", "splits": {"fit": 8, "tune": 14, "test": 14}},
        "objectives": {"top1": "max", "latency_mean_ms": "min", "bundle_size_mb": "min"},
        "techniques": {"quantisation": [], "cascade": False},
        "runtime": {"threads": [1]},
        "budget": {"measurements": 2},
        "together": 1,
        "verify": 0,
    }
    text = yaml.safe_dump(spec, sort_keys=False)
    (folder / "job.yaml").write_text(text, encoding="utf-8")
    found = Home(folder, environment)
    call = "import sys; from trimtab.planner.cli import main; sys.exit(main())"
    found.python("-c", call, "--store", "store/trimtab.db", "plan", "job.yaml")
    return found


def test_a_job_in_the_foreground(home: Home) -> None:
    """With a network that gets its own modules."""
    (job,) = (job for job in home.jobs().values() if job["name"] == "at home")
    assert job["state"] == "done"
    front = json.loads(home.trimtab("front", job["id"], "--all", "--format", "json"))
    assert {"small 1t", "own 1t"} <= {plan["label"] for plan in front["rows"]}


def test_a_job_in_the_background(home: Home) -> None:
    (home.folder / "start.py").write_text(BACKGROUND, encoding="utf-8")
    found = json.loads(home.python("start.py").splitlines()[-1])
    assert found["status"] == 0, found["log"]
    objectives = ["top1", "latency_mean_ms", "bundle_size_mb"]
    assert found["jobs"]["in the background"] == ["done", objectives]


def test_the_library(home: Home) -> None:
    (home.folder / "use.py").write_text(LIBRARY, encoding="utf-8")
    found = json.loads(home.python("use.py").splitlines()[-1])
    assert (found["state"], found["owners"]) == ("done", ["the user"])
    assert all(Path(file).is_relative_to(home.environment) for file in found["files"])
    assert "selftest passed" in home.python("library.pyz", "selftest")


def test_an_export(home: Home) -> None:
    chosen = home.jobs()["at home"]["chosen"]
    assert "Wrote plan.pyz" in home.trimtab("export", chosen, "-o", "plan.pyz")
    assert "selftest passed" in home.python("plan.pyz", "selftest")


def test_nothing_but_two_names_can_be_imported(home: Home) -> None:
    """Of this distribution; and nothing of the checkout."""
    code = (
        "import importlib.metadata, json, sys\n"
        "files = importlib.metadata.files('trimtab')\n"
        "print(json.dumps([sorted({file.parts[0] for file in files}), sys.path]))"
    )
    tops, path = json.loads(home.python("-P", "-c", code))
    own = [name for name in tops if not name.endswith(".dist-info") and name != ".."]
    assert own == ["trimtab", "trimtab_runtime"]
    assert not [entry for entry in path if Path(entry) in (ROOT, ROOT / "src")]


@pytest.fixture(scope="module")
def address(home: Home) -> Iterator[str]:
    """The dashboard's, as its command starts it and prints it: with the token."""
    port = free_port()
    command = [home.environment / "bin" / "trimtab", "--store", "store/trimtab.db", "dashboard"]
    log = home.folder / "dashboard.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--no-browser"],
            cwd=home.folder,
            env=surroundings(),
            stdout=stream,
            stderr=stream,
        )
    found = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is not None or _text(f"{found}/_stcore/health") == "ok")
        assert process.poll() is None, log.read_text(encoding="utf-8")
        entry = re.search(r"Dashboard: (\S+)", log.read_text(encoding="utf-8"))
        assert entry is not None
        yield entry[1]
    finally:
        process.terminate()
        process.wait()


def _text(address: str) -> str | None:
    """What is there; None while nobody answers."""
    try:
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(address, timeout=30) as answer:
            return answer.read().decode()
    except OSError:
        return None


def test_the_dashboard_answers(address: str) -> None:
    assert "<title>" in (_text(address) or "")


def _look_at_the_front(chromium: str, address: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        page.set_default_timeout(1000 * PATIENCE_S)
        page.goto(address.replace("/?", "/front?"))
        page.get_by_text(re.compile(r"^\d+ plans? on the front")).wait_for()
        page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
        assert page.locator("[data-testid=stException]").count() == 0
        browser.close()


def test_the_dashboard_shows_a_front(address: str, home: Home) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium here (Debian: apt-get install chromium)")
    with ThreadPoolExecutor(1) as apart:  # the browser of other tests has this thread's loop
        apart.submit(_look_at_the_front, chromium, address).result()
    log = (home.folder / "dashboard.log").read_text(encoding="utf-8")
    assert "Traceback" not in log, log
