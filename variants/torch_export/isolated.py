"""Exporting a module in a process of its own: to build it is to run the user's code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimtab.variants.isolation import Ask, Limits, call
from trimtab.variants.isolation.limits import STEP_S, memory_for
from trimtab.variants.torch_export.export import export_module


def export_in_subprocess(
    entry: str,
    arguments: Mapping[str, Any],
    state_dict: Path | str | None,
    size: int | tuple[int, int],
    out: Path,
    channels: int = 3,
    folder: Path | str | None = None,
    limit_s: float = STEP_S,
) -> Path:
    """:func:`variants.export_module` in a fresh process.

    Raises what it raises, and ModelError where it takes more than ten times `limit_s` in all,
    crashes, or takes more memory than it may.
    """
    asked = {
        "entry": entry,
        "arguments": dict(arguments),
        "state_dict": None if state_dict is None else str(Path(state_dict).absolute()),
        "size": size,
        "out": str(out.absolute()),
        "channels": channels,
        "folder": None if folder is None else str(Path(folder).absolute()),
    }
    limits = Limits(_STEPS * limit_s, memory_for(Path(state_dict or out)))
    call(_export, entry, asked, limits, fresh=True)
    return out


#: torch tells nothing while it imports, builds, traces and writes.
_STEPS = 10


def _export(request: Any, ask: Ask) -> None:
    size = request["size"]
    size = size if isinstance(size, int) else (size[0], size[1])
    export_module(**{**request, "size": size, "out": Path(request["out"])})
