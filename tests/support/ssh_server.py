"""A real SSH server on loopback, as a device: this machine behind sshd.

The user's side of SSH (keys, known_hosts) lies in a home of its own, which HOME must name.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import asyncssh
import psutil
from processes import free_port, until

from trimtab.profilers import SshTarget

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")

_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
"""
SFTP = "Subsystem sftp internal-sftp"


class SshServer:
    """An sshd of its own; `device` is the folder that the device keeps for us."""

    def __init__(self, folder: Path) -> None:
        assert SSHD is not None
        self.folder, self.home, self.device = folder, folder / "home", folder / "device"
        (self.home / ".ssh").mkdir(parents=True, mode=0o700)
        self.device.mkdir()
        self.port = free_port()
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.host_key.write_private_key(str(folder / "host_key"))
        (folder / "host_key").chmod(0o600)
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(str(self.home / ".ssh" / "id_ed25519"))
        key.write_public_key(str(folder / "authorized_keys"))
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(SFTP)
        self.start()

    @property
    def address(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{self.device}"

    @property
    def fingerprint(self) -> str:
        return self.host_key.get_fingerprint()

    @property
    def target(self) -> SshTarget:
        return SshTarget(
            "127.0.0.1", getpass.getuser(), self.port, str(self.device), self.fingerprint
        )

    def configure(self, *lines: str) -> None:
        """Lines of the server's configuration, from its next start on."""
        own = _CONFIG.format(port=self.port, folder=self.folder)
        (self.folder / "sshd_config").write_text("\n".join([own, *lines]) + "\n")

    def use_environment(self, **variables: str) -> None:
        """The interpreter of this process, as if `devices prepare` had made it, with a line in
        `started` for each probe. `variables` go before those that are set."""
        python = self.device / "env" / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        changed = [f'{name}="{value}:${name}"; export {name}' for name, value in variables.items()]
        noted = f'case "$*" in *request.json*) echo "$PWD" >> "{self.started}";; esac'
        lines = ["#!/bin/sh", noted, *changed, f'exec "{sys.executable}" "$@"']
        python.write_text("\n".join(lines) + "\n", encoding="utf-8")
        python.chmod(0o755)

    @property
    def started(self) -> Path:
        """Lines: the folders of the probes that were ever started."""
        return self.folder / "started"

    def starts(self) -> int:
        """Probes that were ever started."""
        return len(self.started.read_text().splitlines()) if self.started.exists() else 0

    def start(self, *before: str) -> None:
        """`before` is a command that runs sshd."""
        assert SSHD is not None
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        config = str(self.folder / "sshd_config")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*before, SSHD, "-D", "-e", "-f", config], stderr=log, stdin=subprocess.DEVNULL
            )
        until(lambda: self._process.poll() is not None or self._answers())
        assert self._process.poll() is None, (self.folder / "log").read_text(encoding="utf-8")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End the server and every connection."""
        assert self._process is not None
        self.cut()
        self._process.terminate()
        self._process.wait()
        self.cut()

    def cut(self) -> None:
        """Kill the processes that serve connections."""
        for session in self.sessions():
            with suppress(psutil.NoSuchProcess):
                session.kill()

    def sessions(self) -> list[psutil.Process]:
        """Processes that serve connections."""
        assert self._process is not None
        return [child for child in _children(self._process.pid) if "sshd" in _name(child)]

    def probes(self) -> list[psutil.Process]:
        """Processes that measure on this device."""
        found = []
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()).parent == self.device / "runs":
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""
