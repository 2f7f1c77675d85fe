"""A device behind SSH."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trimtab.profilers.device import Device, DeviceLost, ProbeResult, Progress
from trimtab.profilers.probe_process import ProbeDied, ProbeStalled
from trimtab.profilers.ssh.artefacts import sha256_of
from trimtab.profilers.ssh.connection import Connection, ConnectionBroken, Patience
from trimtab.profilers.ssh.remote import RemoteProbe
from trimtab.profilers.ssh.scripts import open_script, running_script
from trimtab.profilers.ssh.wheel import runtime_wheel
from trimtab.profilers.ssh_address import SshTarget
from trimtab_runtime.codec import encode
from trimtab_runtime.errors import DeviceError, TrimtabError
from trimtab_runtime.probe.requests import FingerprintRequest

_SAID = 200
#: Ends of a probe that may not be its own doing: killed, hung up, told to end; and status 3, with
#: which it goes when nobody holds its standard input any more.
_NOT_ITS_OWN = {-9, -15, -1, 137, 143, 129, 3}


class SshDevice(Device):
    """Requests run on another machine, in the environment that `trimtab devices prepare` made.

    The code that measures is this process's own trimtab_runtime, sent like any other file. When
    the connection breaks, the device is waited for, what still runs there is killed, and the
    step is done again; see :class:`Patience`.
    """

    def __init__(
        self, target: SshTarget, stall_s: float = 120.0, patience: Patience | None = None
    ) -> None:
        self.address, self.target = target.address, target
        self._stall_s, self._patience = stall_s, patience or Patience()
        self.connection = Connection(target, self._patience)
        self._home: str | None = None
        self._boot = ""
        self._key = ""  # the host key, by its fingerprint
        self._rebooted = False  # and nobody has looked yet at what the device is now
        self._alone: bool | None = None
        self._fingerprint: dict[str, str] | None = None
        self._places: dict[str, Path] = {}  # by sha256: what was put
        self._hashes: dict[tuple[str, int, int], str] = {}
        self._wheel: tempfile.TemporaryDirectory[str] | None = None

    def close(self) -> None:
        self.connection.close()
        if self._wheel is not None:
            self._wheel.cleanup()
            self._wheel = None

    @property
    def home(self) -> str:
        """The absolute path of our folder on the device."""
        if self._home is None:
            self._open()
        assert self._home is not None
        return self._home

    def put(self, path: Path) -> str:
        return f"{self.home}/artefacts/{self._named(path)}"

    def machine(self) -> str:
        return self._boot

    def identity(self) -> str:
        return self._key

    def fingerprint(self) -> dict[str, str]:
        self._fingerprint = super().fingerprint()
        return dict(self._fingerprint)

    def probe(
        self,
        request: Any,
        *,
        stall_s: float | None = None,
        progress: Progress | None = None,
        bundle: str | None = None,
    ) -> ProbeResult:
        remote = self._remote(request, bundle)
        try:
            return self._persistent(remote, stall_s or self._stall_s, progress)
        except TrimtabError as error:
            self._translate(error)
            raise
        finally:
            if self.connection.is_open:
                remote.remove()

    def running(self) -> list[int]:
        """Numbers of the processes that probe on the device, whoever asked for them."""
        runs = f"{shlex.quote(self.home)}/runs/*"
        told = self.connection.shell(running_script(runs))
        return sorted({int(word) for word in told.out.split() if word.isdecimal()})

    def _remote(self, request: Any, bundle: str | None) -> RemoteProbe:
        artefacts = f"{self.home}/artefacts"
        runtime = bundle or f"{artefacts}/{self._named(self._runtime_wheel())}"
        named = [text.removeprefix(f"{artefacts}/") for text in _texts([encode(request), runtime])]
        files = {sha: self._places[sha] for sha in named if sha in self._places}
        return RemoteProbe(self.connection, self.home, request, files, runtime)

    def _runtime_wheel(self) -> Path:
        if self._wheel is None or not Path(self._wheel.name).exists():  # with a job's scratch
            self._wheel = tempfile.TemporaryDirectory(prefix="trimtab-wheel-")
            runtime_wheel(Path(self._wheel.name))
        return next(Path(self._wheel.name).iterdir())

    def _named(self, path: Path) -> str:
        """The name of a file on the device: its sha256. Content seen before is not read again."""
        path = path.resolve()
        try:
            state = path.stat()
        except OSError as error:
            raise DeviceError(f"{path} cannot be read: {error.strerror}") from error
        known = (str(path), state.st_mtime_ns, state.st_size)
        if known not in self._hashes:
            self._hashes[known] = sha256_of(path)
        self._places[self._hashes[known]] = path
        return self._hashes[known]

    def _persistent(
        self, remote: RemoteProbe, stall_s: float, progress: Progress | None
    ) -> ProbeResult:
        breaks = attempts = 0
        boot = self._boot
        while True:
            try:
                self._connected()
                if self._boot != boot:
                    remote.forget()
                    boot = self._boot
                return self._attempt(remote, stall_s, progress)
            except ConnectionBroken as error:
                breaks += 1
                if breaks > self._patience.breaks:
                    raise DeviceLost(
                        f"{error}; that happened {breaks} times in one step"
                    ) from error
                self._come_back(error)
            except (ProbeStalled, ProbeDied) as error:
                attempts += 1
                own = isinstance(error, ProbeDied) and error.status not in _NOT_ITS_OWN
                if own or attempts >= self._patience.attempts:
                    raise
                self.listener.trouble("probe repeated", f"{error}; once more")

    def _attempt(
        self, remote: RemoteProbe, stall_s: float, progress: Progress | None
    ) -> ProbeResult:
        remote.stop()
        if not remote.finished():
            remote.send(self.target.space_mb * 2**20, self.listener)
            remote.run(stall_s, progress)
        return remote.fetch()

    def _connected(self) -> None:
        """Have a connection to the device as it was."""
        if not self.connection.is_open:
            self._open()
        if self._rebooted:
            self._check_fingerprint()
            self._rebooted = False
        if self._alone is None:
            self._alone = not self._check_alone()

    def _open(self) -> None:
        self.connection.open()
        key = self.connection.host_key
        if self._key not in ("", key):
            raise DeviceLost(
                f"{self.address} shows another host key than before ({key}, not {self._key}): "
                "another machine; run the job again, which measures it anew"
            )
        self._key = key
        told = self.connection.shell(open_script(self.target.folder))
        if told.status != 0:
            raise DeviceError(
                f"{self.address}: no folder {self.target.folder} can be made there: "
                f"{told.err.strip()}"
            )
        home, boot = ["", "", *told.out.splitlines()][-2:]
        if not home.startswith("/") or not boot:
            raise DeviceError(
                f"{self.address}: said {told.out.strip()[-_SAID:]!r} where the path of its folder "
                "and its boot were asked for"
            )
        self._home = home
        if self._boot not in ("", boot):
            self._rebooted = True
            self.listener.trouble("rebooted", "the device was rebooted")
        self._boot = boot

    def _check_alone(self) -> list[int]:
        """Tell of probes that somebody else runs; their numbers."""
        others = self.running()
        if others:
            self.listener.trouble(
                "not alone",
                f"process {', '.join(map(str, others))} probes on the device already: another "
                "job measures there, or was cut off while it hung; `trimtab devices clean "
                f"{self.address}` ends it",
            )
        return others

    def _check_fingerprint(self) -> None:
        """Raises DeviceLost unless the device is what it was."""
        if self._fingerprint is None:
            return
        remote = self._remote(FingerprintRequest(), None)
        now = dict(self._attempt(remote, self._stall_s, None).fingerprint)
        remote.remove()
        names = sorted(now.keys() | self._fingerprint.keys())
        changed = [
            f"{name}: {self._fingerprint.get(name)} is now {now.get(name)}"
            for name in names
            if now.get(name) != self._fingerprint.get(name)
        ]
        if changed:
            raise DeviceLost(
                f"{self.address} is not what it was before its reboot ({'; '.join(changed)}); run "
                "the job again: it measures anew what depends on that"
            )

    def _come_back(self, error: ConnectionBroken) -> None:
        """Wait for the device. Raises DeviceLost when patience is at its end."""
        began = time.monotonic()
        self.listener.trouble("connection lost", f"{error}; trying again")
        for delay in self._patience.delays():
            self.listener.waiting()
            time.sleep(delay)
            try:
                self._connected()
            except ConnectionBroken as again:
                error = again
            else:
                return
        raise DeviceLost(
            f"{error}; waited {time.monotonic() - began:.0f} s for it. All measurements are kept: "
            "run the same command again to resume"
        ) from error

    def _translate(self, error: TrimtabError) -> None:
        """Let an error name the files of this machine: those its reader knows."""
        text = str(error)
        for sha, path in self._places.items():
            text = text.replace(f"{self._home}/artefacts/{sha}", str(path))
            text = text.replace(sha, path.name)
        error.args = (text,)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
