"""The dashboard as its command starts it, and a browser to look at it."""

from __future__ import annotations

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
_STARTS_S = 600  # machines may be busy; it is not part of what is timed


@contextmanager
def served(store: Path) -> Iterator[str]:
    """`trimtab dashboard` on a free port of loopback; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*_CALL, "--store", str(store), "dashboard", "--port", str(port), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
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
