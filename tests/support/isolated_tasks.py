"""Steps that do harm, for processes that carry out steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.variants.files import watchdog
from trimtab_runtime.errors import BundleError


def asking(request: Any, ask: Any) -> Any:
    return [ask({"again": request}), os.getpid()]


def printing(request: Any, ask: Any) -> Any:
    print("a model prints", flush=True)
    return sys.stdin.read()


def refusing(request: Any, ask: Any) -> Any:
    raise BundleError("as it says")


def recursing(request: Any, ask: Any) -> Any:
    return recursing(request, ask)


def greedy(request: Any, ask: Any) -> Any:
    return int(np.ones(request, np.uint8).sum())


def steps(request: Any, ask: Any) -> Any:
    """Each of so many steps takes so many seconds."""
    count, seconds = request
    for _ in range(count):
        watchdog.step()
        time.sleep(seconds)
    return "done"


def stopping(request: Any, ask: Any) -> Any:
    """It leaves a child in `request`, a file, and is stopped: no signal but SIGKILL reaches it."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    Path(request).write_text(str(child.pid))
    os.kill(os.getpid(), signal.SIGSTOP)


def ending(request: Any, ask: Any) -> Any:
    os._exit(request)
