"""Where bundles unpack, and whether nobody else can change what lies there."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from trimtab_runtime.errors import BundleError

_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def caches() -> list[Path]:
    """Folders to unpack into, the first that can be used: $TRIMTAB_CACHE alone where it is set,
    else the user's cache folder, else (no home, or one that cannot be written) a private one of
    the user's among the temporary files."""
    named = os.environ.get("TRIMTAB_CACHE")
    if named:
        return [Path(named)]
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    temporary = Path(tempfile.gettempdir()) / _private_name()
    # Without a home `~` stays as it is: no folder of that name is to appear where one works.
    return [Path(base) / "trimtab", temporary] if os.path.isabs(base) else [temporary]


def safe_place(cache: Path) -> Path:
    """The folder of a cache to unpack into, made where it is not there, by its real path. Where
    anybody may make files in the cache (as in /tmp), it is a private one of the user's inside.

    Raises BundleError where another user than root could change it, or anything above it.
    """
    check_safe(cache)
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = Path(os.path.realpath(str(cache)))
    for folder in reversed((place, *place.parents)):
        check_safe(folder)
    if hasattr(os, "getuid") and place.stat().st_mode & _BY_OTHERS:
        place = place / _private_name()
        place.mkdir(mode=0o700, exist_ok=True)
        check_safe(place)
    return place


def check_safe(folder: Path) -> None:
    """Raises BundleError where another user than root could change what lies in a folder: it is
    somebody else's, a link of somebody else's leads there, or it may be written by others (a
    sticky folder as /tmp lets nobody touch what is another's). One that is not there yet is
    safe."""
    if not hasattr(os, "getuid"):
        return
    try:
        found, owners = folder.stat(), {folder.stat().st_uid, folder.lstat().st_uid}
    except (FileNotFoundError, NotADirectoryError):
        return
    sticky = found.st_mode & stat.S_ISVTX
    if owners - {0, os.getuid()} or (found.st_mode & _BY_OTHERS and not sticky):
        raise BundleError(
            f"{folder} belongs to or is writable by others: remove it, take it over (chown, chmod "
            "go-w), or set TRIMTAB_CACHE to a folder of your own; they could change what runs "
            f"here (owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o})"
        )


def _private_name() -> str:
    return f"trimtab-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
