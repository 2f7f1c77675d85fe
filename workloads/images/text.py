"""How errors name many things, and how text files are read."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from trimtab_runtime.errors import WorkloadError


def first_few(names: Sequence[str], few: int = 3) -> str:
    """`a.png, b.png, c.png and 12 more`."""
    shown = ", ".join(names[:few])
    return shown if len(names) <= few else f"{shown} and {len(names) - few} more"


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC): macOS writes `e` and an accent as two characters,
    tables and class lists mostly have them as one."""
    return unicodedata.normalize("NFC", name)


def read_text(path: Path) -> str:
    """A UTF-8 text, with or without byte order mark. Raises WorkloadError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise WorkloadError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
