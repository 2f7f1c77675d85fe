"""Files of host keys, as the user's SSH configuration names them."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from trimtab_runtime.errors import DeviceError

_PORT = 22
_USERS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
_SYSTEMS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
_TOKEN = re.compile("%(.)")
_UNASKED = ("no", "off", "false", "accept-new")
_QUESTION_S = 10


@dataclass(frozen=True)
class KnownHosts:
    """The keys that a user knows of the host `name` (as the user calls it) at `place` (as keys are
    filed): in files that need not be there. New ones go into the first, unless that keeps
    nothing."""

    name: str
    place: str
    files: tuple[Path, ...]

    @classmethod
    def of(cls, name: str, options: asyncssh.SSHClientConnectionOptions) -> KnownHosts:
        """As the options of a connection to `name` say, with what the user's configuration does:
        HostKeyAlias, UserKnownHostsFile, GlobalKnownHostsFile."""
        host = (options.host_key_alias or options.host).lower()
        plain = options.port == _PORT or options.host_key_alias is not None
        place = host if plain else f"[{host}]:{options.port}"
        values = {
            "%": "%",
            "d": str(Path.home()),
            "h": options.host,
            "n": name,
            "p": str(options.port),
            "r": options.username,
            "u": getpass.getuser(),
        }
        named = options.known_hosts  # none, or as the configuration lists them
        texts: Any = named or (() if named is None else (*_USERS, *_SYSTEMS))
        filled = [_TOKEN.sub(lambda t: values.get(t[1], t[0]), text) for text in texts]
        return cls(name, place, tuple(Path(text).expanduser() for text in filled))

    @property
    def kept_in(self) -> Path | None:
        """Where a confirmed key is kept; None where nothing is, as in /dev/null."""
        first = next(iter(self.files), None)
        if first is not None and first.exists() and not stat.S_ISREG(first.stat().st_mode):
            return None
        return first

    def match(self, host: str, addr: str, port: int | None) -> Any:
        """What asyncssh asks: keys of a host, those of authorities, revoked ones, ..."""
        return self._read().match(host.lower(), addr, port)

    @property
    def has_other_key(self) -> bool:
        """Whether there is any key for exactly this place."""
        return bool(self._read().match(self.place, "", None)[0])

    def remember(self, key: asyncssh.SSHKey) -> Path:
        """Add a key that somebody has confirmed; the file. Raises DeviceError where it cannot be
        kept."""
        file = self.kept_in
        if file is None:
            raise DeviceError(
                f"the UserKnownHostsFile of {self.name} keeps nothing: write its key as "
                "device.host_key into the specification (--host-key), or name a file in "
                "~/.ssh/config"
            )
        public = key.export_public_key("openssh").decode("ascii").split()
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8") as stream:
                stream.write(" ".join([self.place, *public[:2]]) + "\n")
        except OSError as error:
            raise DeviceError(f"{file}: cannot be written ({error.strerror})") from error
        return file

    def _read(self) -> asyncssh.SSHKnownHosts:
        readable = [str(file) for file in self.files if os.access(file, os.R_OK)]
        try:
            return asyncssh.read_known_hosts(readable)
        except ValueError as error:
            raise DeviceError(f"{', '.join(readable)}: {error}") from error


def taken_unasked(name: str) -> bool:
    """Whether the user's SSH configuration has new keys of a host taken without a question
    (StrictHostKeyChecking no or accept-new). `ssh` itself says so; where there is none, no."""
    ssh, config = shutil.which("ssh"), Path("~/.ssh/config").expanduser()
    if ssh is None or not config.is_file():
        return False
    try:
        told = subprocess.run(
            [ssh, "-F", str(config), "-G", "--", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_QUESTION_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    pairs = (line.partition(" ") for line in told.stdout.splitlines())
    return any(key == "stricthostkeychecking" and value in _UNASKED for key, _, value in pairs)
