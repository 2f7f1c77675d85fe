"""Whose key a device shows: one that is known, was named, or is to be asked about."""

from __future__ import annotations

from pathlib import Path

import asyncssh

from trimtab.profilers.ssh_address import SshTarget
from trimtab_runtime.errors import DeviceError

_PORT = 22


class UnknownHostKey(DeviceError):
    """Nobody has said yet whose key this is. `line` is what known_hosts would hold."""

    def __init__(self, target: SshTarget, fingerprint: str, line: str) -> None:
        self.fingerprint, self.line = fingerprint, line
        super().__init__(
            f"{target.host} shows a host key that nobody has confirmed, {fingerprint}; compare "
            "it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the device, then "
            f"confirm it with `trimtab devices check {target.address}`, or write it as "
            "device.host_key into the specification"
        )


class Trust(asyncssh.SSHClient):
    """Decides on host keys that known_hosts does not name; remembers what it was shown."""

    def __init__(self, target: SshTarget) -> None:
        self._target, self._expected = target, target.host_key
        self.shown: asyncssh.SSHKey | None = None
        self.place: tuple[str, str, int] = ("", "", 0)

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        self.shown, self.place = key, (host, addr, port)
        return self._expected is not None and key.get_fingerprint() == self._expected

    def distrust(self, error: asyncssh.HostKeyNotVerifiable) -> DeviceError:
        """What to tell of a key that was not taken."""
        target, key = self._target, self.shown
        if key is None:
            return DeviceError(f"{target.address}: {error.reason}")
        fingerprint = key.get_fingerprint()
        if target.host_key is not None:
            return DeviceError(
                f"{target.address} must show the host key {target.host_key}, but shows "
                f"{fingerprint}: another machine, or somebody between"
            )
        host, addr, port = self.place
        place = host if port == _PORT else f"[{host}]:{port}"
        file = _known_file()
        if file.is_file() and asyncssh.match_known_hosts(str(file), host, addr, port)[0]:
            return DeviceError(
                f"the host key of {target.host} is not the known one, but {fingerprint}: another "
                "machine, somebody between, or the device was set up anew; only in the last "
                f"case: ssh-keygen -R '{place}'"
            )
        public = key.export_public_key("openssh").decode("ascii").split()
        return UnknownHostKey(target, fingerprint, " ".join([place, *public[:2]]))


def _known_file() -> Path:
    return Path("~/.ssh/known_hosts").expanduser()


def remember_host(unknown: UnknownHostKey) -> Path:
    """Add a host key that somebody has confirmed to the user's known_hosts; its path. Raises
    DeviceError where that cannot be written."""
    file = _known_file()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as stream:
            stream.write(unknown.line + "\n")
    except OSError as error:
        raise DeviceError(f"{file}: cannot be written ({error.strerror})") from error
    return file
