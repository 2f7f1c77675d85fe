"""The dashboard as its command starts it, and a browser to look at it."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trimtab.planner.jobs.dashboard_access import TOKEN

_CALL = [
    sys.executable,
    "-P",
    "-c",
    "import sys; from trimtab.planner.cli import main; sys.exit(main())",
]
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-renderer-backgrounding",  # which would lower its priority
]
_TOKEN = secrets.token_urlsafe(32)
_STARTS_S = 600  # machines may be busy; it is not part of what is timed


@contextmanager
def served(store: Path) -> Iterator[str]:
    """`trimtab dashboard` on a free port of loopback; its address. A context of a browser
    is let in by :func:`let_in`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*_CALL, "--store", str(store), "dashboard", "--port", str(port), "--no-browser"]
    environment = {**os.environ, TOKEN: _TOKEN}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    try:
        ends = time.monotonic() + _STARTS_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > ends:
                sys.exit(f"the dashboard does not answer on port {port}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def let_in(context: Any, address: str) -> None:
    """Give a browser's context the cookie that the address with the token would."""
    name = f"trimtab-dashboard-{address.rpartition(':')[2]}"
    context.add_cookies([{"name": name, "value": _TOKEN, "url": address}])


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def browsing() -> Iterator[Any]:
    """Playwright's browser over Debian's chromium."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("there is no chromium here; on Debian: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=_FLAGS)
        yield browser
        browser.close()


def settle(page: Any, timeout_s: float = 180) -> None:
    """Until the application has drawn what it was asked for, pictures included."""
    idle = "[data-testid=stApp][data-test-script-state=notRunning]"
    limit_ms = 1000 * timeout_s
    page.wait_for_selector(idle, timeout=limit_ms)
    page.wait_for_timeout(1500)
    page.wait_for_selector(idle, timeout=limit_ms)
    page.wait_for_selector("[data-testid=stSkeleton]", state="detached", timeout=limit_ms)
