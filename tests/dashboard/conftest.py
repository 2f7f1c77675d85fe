"""A small zoo, a store with a finished job on it, and the dashboard as its command starts it."""

import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import yaml
from PIL import Image
from processes import PATIENCE_S, free_port, until
from sample_models import INPUT, texture_images, write_onnx

from trimtab.db import Store
from trimtab.planner.pipeline.job import plan
from trimtab_runtime.probe.requests import MeasureSettings

_CALL = [
    sys.executable,
    "-P",
    "-c",
    "import sys; from trimtab.planner.cli import main; sys.exit(main())",
]
_QUICK = MeasureSettings(seconds=0.1, max_seconds=5, min_rounds=8, warmup_seconds=0.02)
EVIL = "<img src=x onerror=window.hacked=1> **b** :red[r] $x$"
"""A name that would be markup wherever it is not escaped."""


@pytest.fixture(autouse=True)
def own_main(monkeypatch):
    """Scripts that Streamlit's AppTest runs take the place of `__main__`, which processes that
    later tests spawn would run again."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def write_zoo(folder, **changes):
    """Models in zoo/, 40 photographs in photos/, job.yaml; the specification."""
    (folder / "zoo").mkdir(parents=True)
    write_onnx(folder / "zoo" / "small.onnx", width=2)
    write_onnx(folder / "zoo" / "large.onnx", width=24)
    images, labels = texture_images(40, seed=7)
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / "photos" / f"grating {label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number}.png")
    spec = {
        "name": EVIL,
        "models": [
            {"path": "zoo/small.onnx", "input": INPUT, "name": "<b>small</b>"},
            {"path": "zoo/large.onnx", "input": INPUT},
        ],
        "workload": {"images": "photos", "splits": {"fit": 12, "tune": 14, "test": 14}},
        "objectives": {"top1": "max", "latency_mean_ms": "min", "peak_memory_mb": "min"},
        "constraints": ["peak_memory_mb <= 10000", "top1 >= 0.5 * baseline"],
        "runtime": {"threads": [1]},
        "techniques": {"quantisation": []},
        "budget": {"measurements": 2},
        "together": 2,
        "verify": 0,
        **changes,
    }
    text = yaml.safe_dump(spec, allow_unicode=True, sort_keys=False)
    (folder / "job.yaml").write_text(text, encoding="utf-8")
    return spec


def plan_quickly(folder, device):
    """Run the job in a folder, with measurements that are short and not to be believed."""
    store = folder / "store" / "trimtab.db"
    store.parent.mkdir()
    with Store.open(store) as opened:
        return plan(folder / "job.yaml", opened, settings=_QUICK, device=device, setup="ignored")


def environment():
    return {k: v for k, v in os.environ.items() if not k.startswith("TRIMTAB_")}


@contextmanager
def served(folder, store, *options, port=None):
    """`trimtab dashboard` in a process of its own; its address, with that which it printed as
    `entry`."""
    port = port or free_port()
    command = [*_CALL, "--store", str(store), "dashboard", "--port", str(port), "--no-browser"]
    with (folder / "dashboard.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *options], cwd=folder, env=environment(), stdout=log, stderr=log
        )
    try:
        until(lambda: _answers(port) or process.poll() is not None)
        assert process.poll() is None, (folder / "dashboard.log").read_text()
        yield Address(_entry(folder / "dashboard.log"))
    finally:
        process.terminate()
        process.wait()


class Address(str):
    """Of a dashboard; `entry` is the address with the token that lets a browser in."""

    def __new__(cls, entry):
        found = super().__new__(cls, entry.partition("/?")[0])
        found.entry = entry
        return found


def _entry(log):
    return until(lambda: re.search(r"Dashboard: (\S+)", log.read_text()))[1]


def _answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=30):
            return True
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="session")
def finished(tmp_path_factory, machine):
    """A folder with a zoo and a store that holds one finished job."""
    folder = tmp_path_factory.mktemp("finished")
    write_zoo(folder)
    plan_quickly(folder, machine)
    return folder


@pytest.fixture(scope="session")
def browser():
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium here (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--disable-renderer-backgrounding"]
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=flags)
        yield started
        started.close()


@pytest.fixture(scope="session")
def context(browser):
    """What the browser has loaded once is there for all pages."""
    size = {"width": 1280, "height": 900}
    with browser.new_context(viewport=size, accept_downloads=True) as opened:
        opened.set_default_timeout(1000 * PATIENCE_S)
        yield opened


@pytest.fixture
def page(context):
    """A page of its own; what its scripts could not do is an error."""
    opened = context.new_page()
    problems = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    yield opened
    opened.close()
    assert problems == []


@pytest.fixture(scope="session")
def tools(machine):
    """The helpers above, for tests."""
    return SimpleNamespace(
        EVIL=EVIL,
        plan_quickly=lambda folder: plan_quickly(folder, machine),
        environment=environment,
        served=served,
        write_zoo=write_zoo,
    )
