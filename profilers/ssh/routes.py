"""The way to a device: as `ssh` goes it, through the jump hosts of the user's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncssh

from trimtab.profilers.ssh.known_hosts import KnownHosts
from trimtab.profilers.ssh.trust import Trust
from trimtab.profilers.ssh_address import SshTarget
from trimtab_runtime.errors import DeviceError

_CONNECT_S, _LOGIN_S = 10, 20
_DEEPEST = 8  # jumps


async def connected(target: SshTarget, **settings: Any) -> asyncssh.SSHClientConnection:
    """A connection to the device, and to every host on the way; `settings` are asyncssh's.

    Raises UnknownHostKey, and DeviceError where keys do not fit or the configuration cannot be
    read.
    """
    ways = _Ways(target, settings)
    try:
        return await ways.reach(target.host, target.user, target.port, target.host_key)
    except (asyncssh.ConfigParseError, asyncssh.KeyImportError) as error:
        raise DeviceError(f"the SSH configuration cannot be used: {error}") from error


class _Ways:
    def __init__(self, target: SshTarget, settings: dict[str, Any]) -> None:
        self._target, self._settings = target, settings

    async def reach(
        self,
        name: str,
        user: str | None = None,
        port: int | None = None,
        host_key: str | None = None,
        through: asyncssh.SSHClientConnection | None = None,
        depth: int = 0,
    ) -> asyncssh.SSHClientConnection:
        """Connect to a host `through` another, or through those that its configuration names."""
        if depth > _DEEPEST:
            raise DeviceError(f"{self._target.address}: more than {_DEEPEST} jump hosts (a loop?)")
        config = Path("~/.ssh/config").expanduser()
        given: dict[str, Any] = {
            "port": port or (),
            "username": user or (),
            "config": str(config) if config.is_file() else None,
        }
        options = asyncssh.SSHClientConnectionOptions(host=name, **given)
        if through is None and isinstance(options.tunnel, str):
            for hop in options.tunnel.split(","):
                through = await self._jump(hop, through, depth + 1)
        trust = Trust(self._target, KnownHosts.of(name, options), host_key)
        try:
            return await self._connect(name, trust, host_key, through, given)
        except BaseException:
            if through is not None:
                through.abort()
            raise

    async def _connect(
        self,
        name: str,
        trust: Trust,
        host_key: str | None,
        through: asyncssh.SSHClientConnection | None,
        given: dict[str, Any],
    ) -> asyncssh.SSHClientConnection:
        try:
            found = await asyncssh.connect(
                name,
                tunnel=through or (),
                # Only the key that was named counts, or else only files do.
                known_hosts=([], [], []) if host_key else trust.known.match,
                client_factory=lambda: trust,
                password_auth=False,
                kbdint_auth=False,
                # Whatever the user's configuration says: the device gets neither the use of
                # their keys, nor their environment, nor their screen.
                agent_forwarding=False,
                x11_forwarding=False,
                env=None,
                send_env=None,
                connect_timeout=_CONNECT_S,
                login_timeout=_LOGIN_S,
                **given,
                **self._settings,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            raise trust.distrust(error) from error
        except asyncssh.PermissionDenied as error:
            raise self._rejected(name, error) from error
        if through is not None:
            found.set_tunnel(through)  # which ends with it
        return found

    async def _jump(
        self, hop: str, through: asyncssh.SSHClientConnection | None, depth: int
    ) -> asyncssh.SSHClientConnection:
        """`hop` is [user@]host[:port], or a URI of that."""
        user, _, place = hop.removeprefix("ssh://").rpartition("@")
        host, colon, port = place.rpartition(":")
        bare = not colon or place.endswith("]")
        host, number = (place, None) if bare else (host, int(port))
        return await self.reach(host.strip("[]"), user or None, number, None, through, depth)

    def _rejected(self, name: str, error: asyncssh.PermissionDenied) -> DeviceError:
        target = self._target
        login = target.login if name == target.host else name
        place = target.address if name == target.host else f"{name}, before {target.address},"
        return DeviceError(
            f"{place} rejected all SSH keys ({error.reason}); `ssh-copy-id {login}` installs one, "
            "or start an agent that has one"
        )
