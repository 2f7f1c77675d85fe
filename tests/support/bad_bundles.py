"""Bundles that are changed by hand, and how they are refused."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest

from trimtab_runtime.bundles.archive import open_bundle
from trimtab_runtime.errors import BundleError


def content_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rezip(content: dict[str, bytes], target: Path, **extra: Any) -> Path:
    """Write `content` again; `extra`: further (ZipInfo or name, data) pairs, and compression."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, about a name that occurs twice
        with zipfile.ZipFile(target, "w", extra.get("compression", 0)) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
            for name, data in extra.get("more", ()):
                archive.writestr(name, data)
    return target


def refused(path: Path, cache: Path) -> str:
    with pytest.raises(BundleError) as raised:
        open_bundle(str(path))
    assert str(raised.value).startswith(f"{path}: ")
    assert not cache.exists() or not list(cache.iterdir()), "something was left in the cache"
    return str(raised.value)
