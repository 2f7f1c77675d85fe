"""HEIC files (of telephones): read where the package `pillow-heif` is installed."""

from __future__ import annotations

import importlib

from trimtab_runtime.errors import WorkloadError

HEIF_SUFFIXES = (".heic", ".heif")
PACKAGE = "pillow_heif"

_registered: list[str] = []


def register_heif(path: str) -> None:
    """Have Pillow read the file at `path` if it is a HEIC file. Raises WorkloadError where the
    package is missing."""
    if _registered or not path.lower().endswith(HEIF_SUFFIXES):
        return
    try:
        importlib.import_module(PACKAGE).register_heif_opener()
    except ImportError as error:
        raise WorkloadError(
            f"{path}: HEIC files need the package pillow-heif: pip install pillow-heif ({error})"
        ) from None
    _registered.append(PACKAGE)
