"""What exports of PyTorch modules have in common, whatever the format."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import numpy as np

from trimtab_runtime.errors import ModelError

_TOLERANCE = 1e-4  # largest difference to torch, relative to the largest score


@contextmanager
def quiet() -> Iterator[None]:
    """Exporters print their progress and warn about their own code; errors still raise."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def check_scores(found: Any, expected: Any, entry: str) -> None:
    """Raises ModelError where an export's scores are not those of torch."""
    scale = max(float(np.abs(expected).max()), 1e-12)
    difference = float(np.abs(found - expected).max()) / scale
    if not difference <= _TOLERANCE:
        raise ModelError(
            f"{entry}: the export answers differently from torch: {difference:.2g} of the largest "
            f"score, more than {_TOLERANCE:g} (is the module random in eval mode?)"
        )
