"""How errors name many things, and how text files are read."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from trimtab_runtime.errors import WorkloadError
from trimtab_runtime.images.decoding import open_regular

_MOST_BYTES = 2**28


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
        with open_regular(path) as stream:
            content = stream.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise WorkloadError(
                f"{path}: has more than {_MOST_BYTES // 2**20} MB, which no table of images needs"
            )
        return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig").read()
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise WorkloadError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
