"""Whose key a host shows: one that is known, was named, or is to be asked about."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import asyncssh

from trimtab.profilers.ssh.known_hosts import KnownHosts, taken_unasked
from trimtab.profilers.ssh_address import SshTarget
from trimtab_runtime.errors import DeviceError


class UnknownHostKey(DeviceError):
    """Nobody has said yet whose `key` this is: of the device (`target`), or of a host on the way
    to it."""

    def __init__(self, target: SshTarget, known: KnownHosts, key: asyncssh.SSHKey) -> None:
        self.known, self.key, self.fingerprint = known, key, key.get_fingerprint()
        on_the_way = known.name != target.host
        named = "" if on_the_way else ", or write it as device.host_key into the specification"
        super().__init__(
            f"{known.name} shows a host key that nobody has confirmed, {self.fingerprint}; "
            "compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there, then "
            f"confirm it with `trimtab devices check {target.address}`{named}"
        )


class Trust(asyncssh.SSHClient):
    """Decides on keys of a host that its files do not name; remembers what it was shown. Only the
    `expected` key counts, where there is one."""

    def __init__(self, target: SshTarget, known: KnownHosts, expected: str | None = None) -> None:
        self._target, self.known, self._expected = target, known, expected
        self._shown: asyncssh.SSHKey | None = None

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        self._shown = key
        if self._expected is not None:
            return key.get_fingerprint() == self._expected
        if self.known.has_other_key or not taken_unasked(self.known.name):
            return False
        with suppress(DeviceError):  # ssh, too, passes over a file that keeps nothing
            self.known.remember(key)
        return True

    def distrust(self, error: asyncssh.HostKeyNotVerifiable) -> DeviceError:
        """What to tell of a key that was not taken."""
        target, known, key = self._target, self.known, self._shown
        if key is None:
            return DeviceError(f"{target.address}: {error.reason}")
        fingerprint = key.get_fingerprint()
        if self._expected is not None:
            return DeviceError(
                f"{target.address} must show the host key {self._expected}, but shows "
                f"{fingerprint}: another machine, or somebody between"
            )
        if known.has_other_key:
            return DeviceError(
                f"the host key of {known.name} is not the known one, but {fingerprint}: another "
                "machine, somebody between, or the device was set up anew; only in the last "
                f"case: ssh-keygen -R '{known.place}'"
            )
        return UnknownHostKey(target, known, key)


def remember_host(unknown: UnknownHostKey) -> Path:
    """Add a host key that somebody has confirmed to the user's files; the path. Raises DeviceError
    where that cannot be written."""
    return unknown.known.remember(unknown.key)
