"""A step that computes nothing."""

from __future__ import annotations

import time
from typing import Any


def sleep(request: float, ask: Any) -> Any:
    """Take so many seconds."""
    time.sleep(request)
    return request
