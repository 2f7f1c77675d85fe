"""Addresses of devices that are reached over SSH."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from trimtab_runtime.errors import DeviceError

#: What the address of a device behind SSH begins with.
SSH = "ssh://"
_FORM = "ssh://[user@]host[:port][/folder/on/the/device]"
_HOST_KEY = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True)
class SshTarget:
    """Where a device is, and what it may be used for.

    `folder` is ours alone on the device, relative to the user's home unless it is absolute, and
    holds at most `space_mb` of artefacts. `host_key` ("SHA256:...") is the one key that the host
    may show; without it the user's known_hosts decides. User, port and key files that are not
    told come from the user's SSH configuration.
    """

    host: str
    user: str | None = None
    port: int | None = None
    folder: str = ".trimtab"
    host_key: str | None = None
    space_mb: int = 2048

    @property
    def address(self) -> str:
        """As the user writes it."""
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        return f"{SSH}{user}{host}{port}{self.folder if self.folder.startswith('/') else ''}"

    @property
    def login(self) -> str:
        """What `ssh` takes."""
        user = f"{self.user}@" if self.user else ""
        return f"{f'-p {self.port} ' if self.port else ''}{user}{self.host}"


def parse_ssh(address: str, host_key: str | None = None, space_mb: int = 2048) -> SshTarget:
    """Read ssh://user@host:port/folder. DeviceError, which never tells a password, unless it has
    this form."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise DeviceError(f"an address has the form {_FORM}; this one cannot be read") from None
    if parts.password is not None:
        raise DeviceError(
            "a password has no place in an address: log in with a key (`ssh-copy-id "
            f"{parts.username or 'user'}@{parts.hostname}` once) or an agent"
        )
    folder = unquote(parts.path)
    plain = folder in ("", "/") or ".." not in PurePosixPath(folder).parts
    plain &= not any((part or "").startswith("-") for part in (parts.hostname, parts.username))
    if not parts.hostname or parts.query or parts.fragment or not plain or "\n" in folder:
        raise DeviceError(f"an address has the form {_FORM}, got {address!r}")
    if host_key is not None and not _HOST_KEY.fullmatch(host_key.rstrip("=")):
        raise DeviceError(
            "a host key is written as ssh-keygen -l prints it, SHA256: and 43 characters, got "
            f"{host_key!r}"
        )
    # urlsplit gives a host in small letters; aliases of a configuration may have others.
    place = parts.netloc.rpartition("@")[2]
    at = place.lower().find(parts.hostname)
    return SshTarget(
        place[at : at + len(parts.hostname)],
        parts.username or None,
        port,
        folder.rstrip("/") or ".trimtab",
        host_key.rstrip("=") if host_key else None,
        space_mb,
    )
