"""One SSH connection to a device, kept alive by a thread while its user does other things."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncssh

from trimtab.profilers.probe_process import Lines
from trimtab.profilers.ssh.routes import connected
from trimtab.profilers.ssh.scripts import MARK, in_shell, marked
from trimtab.profilers.ssh_address import SshTarget
from trimtab_runtime.errors import DeviceError

T = TypeVar("T")

_KEEP_ALIVES = 3
_LOGIN_S, _COMMAND_S, _LONG_S = 20, 60.0, 1800.0
_GLANCE_S = 0.5
_PRINTED, _MOST_PRINTED = 4096, 2**20  # of standard error; of the output of a short command
_SHOWN = 200  # characters of what a device said


class ConnectionBroken(DeviceError):
    """The device cannot be reached, or not any more: worth another try."""


@dataclass(frozen=True)
class Completed:
    """How a command on the device ended; `status` is negative for a signal."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Patience:
    """How long to come back to a device that is away: after `first_s` seconds, then twice as long
    each time up to `longest_s`, until `total_s` have passed. A probe that was killed or hung is
    tried `attempts` times in all, and may see the connection break `breaks` times. A connection
    is dead after three questions, `keep_alive_s` seconds apart, without an answer."""

    first_s: float = 0.5
    longest_s: float = 20.0
    total_s: float = 240.0
    attempts: int = 2
    breaks: int = 20
    keep_alive_s: float = 10.0

    def delays(self) -> Iterator[float]:
        """Seconds to wait before each try."""
        delay, began = self.first_s, time.monotonic()
        while time.monotonic() - began < self.total_s:
            yield delay
            delay = min(2 * delay, self.longest_s)


class Connection:
    """Talks to an SSH server from ordinary code, in one thread.

    asyncssh runs in a loop of its own thread, so that keep-alives are sent and answered during
    a long probe and between two. Whatever breaks the connection is a ConnectionBroken.
    """

    def __init__(self, target: SshTarget, patience: Patience) -> None:
        self.target, self._patience = target, patience
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ssh: asyncssh.SSHClientConnection | None = None
        self._sftp: asyncssh.SFTPClient | None = None

    @property
    def is_open(self) -> bool:
        return self._ssh is not None and not self._ssh.is_closed()

    @property
    def ssh(self) -> asyncssh.SSHClientConnection:
        """For coroutines given to :meth:`run`."""
        if self._ssh is None:
            raise ConnectionBroken(f"{self.target.address}: not connected")
        return self._ssh

    @property
    def sftp(self) -> asyncssh.SFTPClient:
        """For coroutines given to :meth:`run`."""
        if self._sftp is None:
            raise ConnectionBroken(f"{self.target.address}: not connected")
        return self._sftp

    @property
    def host_key(self) -> str:
        """The fingerprint of the key that the device has shown."""
        key = self.ssh.get_server_host_key()
        assert key is not None  # it was checked when the connection was made
        return str(key.get_fingerprint())

    def open(self) -> None:
        """Connect anew. Raises UnknownHostKey, DeviceError where keys do not fit, and
        ConnectionBroken."""
        self.drop()
        self.run(self._open())

    def run(self, work: Coroutine[Any, Any, T], glance: Callable[[], None] | None = None) -> T:
        """The result of a coroutine; `glance` is called twice a second until then."""
        return self.result(self.start(work), glance)

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Let a coroutine run in the connection's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._started())

    def result(
        self, future: concurrent.futures.Future[T], glance: Callable[[], None] | None = None
    ) -> T:
        """What came of a started coroutine, as :meth:`run`."""
        try:
            while not concurrent.futures.wait([future], timeout=_GLANCE_S).done:
                if glance is not None:
                    glance()
            return future.result()
        except (asyncssh.Error, OSError) as error:  # TimeoutError is an OSError
            problem = self._problem(error)
        finally:
            future.cancel()  # of no effect where it is done
        # Without its cause: asyncssh raises that very object in its own thread too.
        raise problem

    def shell(self, script: str, given: str = "") -> Completed:
        """Run a script of the POSIX shell, which reads `given`; what a login shell prints before
        is left out."""
        return self.run(self._shell(script, given))

    def stream(self, command: str, say: Callable[[str], None]) -> int:
        """Run a command that may take long, and pass on each line that it prints; its status.
        Raises DeviceError where it prints too much, or nothing for half an hour."""
        lines = Lines()
        ended = self.start(followed(self.ssh, f"exec 2>&1\n{command}", lines))
        try:
            while (line := lines.get(_LONG_S)) is not None:
                if line.strip():
                    say(line.decode("utf-8", errors="replace").rstrip())
            return self.result(ended)[0]
        except queue.Empty:
            raise DeviceError(f"{self.target.address}: silent for {_LONG_S:.0f} s") from None
        finally:
            ended.cancel()

    def drop(self) -> None:
        """Close what is open, without a word to a device that may be gone."""
        ssh, self._ssh, self._sftp = self._ssh, None, None
        if ssh is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(ssh.abort)

    def close(self) -> None:
        """Take leave, and end the thread."""
        if self._loop is None or self._thread is None:
            return
        if self._ssh is not None:
            with suppress(DeviceError):
                self.run(self._leave())
        self._ssh = self._sftp = None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name=f"ssh {self.target.host}", daemon=True
            )
            self._thread.start()
        return self._loop

    async def _open(self) -> None:
        ssh = await connected(
            self.target,
            keepalive_interval=self._patience.keep_alive_s,
            keepalive_count_max=_KEEP_ALIVES,
        )
        self._ssh = ssh
        try:
            noise = await self._greeting()
            self._sftp = await self._file_transfer(noise)
        except (asyncssh.Error, OSError, DeviceError):
            self.drop()
            raise

    async def _greeting(self) -> str:
        """What the device prints before the first word of a command. Raises DeviceError where it
        runs none."""
        done = await self._bounded_run(marked(""))
        noise, found, _ = done.out.partition(f"{MARK}\n")
        if not found:
            said = " ".join([*done.out.split(), *done.err.split()])[:_SHOWN]
            raise DeviceError(
                f"{self.target.address} runs no commands (exit status {done.status}"
                f"{f': {said}' if said else ''}): give the user a POSIX shell on the device, e.g. "
                f"`sudo usermod -s /bin/sh {self.target.user or 'USER'}`"
            )
        return noise

    async def _file_transfer(self, noise: str) -> asyncssh.SFTPClient:
        """Raises DeviceError where there is none: trying again would not help."""
        try:
            return await asyncio.wait_for(self.ssh.start_sftp_client(), _LOGIN_S)
        except (asyncssh.ChannelOpenError, asyncssh.SFTPError, TimeoutError) as error:
            if self.ssh.is_closed():
                raise
            if noise:
                said = " ".join(noise.split())[:_SHOWN]
                raise DeviceError(
                    f"{self.target.address}: SFTP does not begin, as the shell prints {said!r} "
                    "first; let it be silent where nobody sits before it: put `case $- in *i*) ;; "
                    "*) return;; esac` at the top of ~/.bashrc on the device"
                ) from error
            raise DeviceError(
                f"{self.target.address} offers no SFTP, which files travel by: write `Subsystem "
                "sftp internal-sftp` into /etc/ssh/sshd_config on the device and restart sshd; "
                "beside dropbear install openssh-sftp-server"
            ) from error

    async def _shell(self, script: str, given: str) -> Completed:
        done = await self._bounded_run(marked(script), given)
        return Completed(done.status, done.out.partition(f"{MARK}\n")[2], done.err)

    async def _bounded_run(self, script: str, given: str = "") -> Completed:
        """All that is printed, the greeting of a login shell too, if that is not too much."""
        return await asyncio.wait_for(self._completed(script, given), _COMMAND_S)

    async def _completed(self, script: str, given: str) -> Completed:
        async with self.ssh.create_process(in_shell(script), encoding=None) as process:
            process.stdin.write(given.encode())
            process.stdin.write_eof()
            out, err = await asyncio.gather(self._bounded(process.stdout), _end_of(process.stderr))
            await process.wait_closed()
            if process.returncode is None:
                raise asyncssh.ConnectionLost("the connection ended before the command did")
            out_text, err_text = (text.decode("utf-8", "replace") for text in (out, err))
            return Completed(process.returncode, out_text, err_text)

    async def _bounded(self, stream: asyncssh.SSHReader[bytes]) -> bytes:
        printed = b""
        while more := await stream.read(_PRINTED):
            printed += more
            if len(printed) > _MOST_PRINTED:
                raise DeviceError(
                    f"{self.target.address}: printed more than {_MOST_PRINTED // 2**20} MB where "
                    "a few lines were expected"
                )
        return printed

    async def _leave(self) -> None:
        ssh = self.ssh
        ssh.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(ssh.wait_closed(), 5)

    def _problem(self, error: Exception) -> DeviceError:
        lost = isinstance(error, asyncssh.SFTPConnectionLost | asyncssh.SFTPNoConnection)
        reason = getattr(error, "reason", "") or str(error) or type(error).__name__
        if isinstance(error, asyncssh.SFTPError) and not lost:
            return DeviceError(f"{self.target.address}: {reason}")
        self.drop()
        return ConnectionBroken(f"{self.target.address} cannot be reached: {reason}")


async def followed(
    ssh: asyncssh.SSHClientConnection, script: str, lines: Lines
) -> tuple[int, str]:
    """Status of a script (negative for a signal), and the end of its standard error. Its lines go
    into a queue, whose None is the end, however that comes."""
    try:
        async with ssh.create_process(in_shell(marked(script)), encoding=None) as process:
            _, told = await asyncio.gather(
                _passed_on(process.stdout, lines), _end_of(process.stderr)
            )
            await process.wait_closed()
            if process.returncode is None:
                raise ConnectionBroken("the connection was lost while a command ran")
            return process.returncode, told.decode("utf-8", errors="replace")
    finally:
        lines.end()


async def _passed_on(stream: asyncssh.SSHReader[bytes], lines: Lines) -> None:
    """Feed the lines what a script prints; what its shell prints before is left out."""
    mark, before = f"{MARK}\n".encode("ascii"), b""
    while printed := await stream.read(2**16):
        if mark:
            _, found, rest = (before + printed).partition(mark)
            if not found:
                before = (before + printed)[-_PRINTED:]
                continue
            mark, printed = b"", rest
        if not lines.feed(printed):
            return


async def _end_of(stream: asyncssh.SSHReader[bytes]) -> bytes:
    printed = b""
    while more := await stream.read(_PRINTED):
        printed = (printed + more)[-_PRINTED:]
    return printed
