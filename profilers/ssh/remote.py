"""One probe in a folder of its own on the device: sent, followed, stopped, brought home."""

from __future__ import annotations

import asyncio
import json
import secrets
import shlex
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncssh

from trimtab.profilers.device import Listener, ProbeResult, Progress
from trimtab.profilers.probe_answer import (
    MOST_RESULT,
    RESULT,
    most_array_bytes,
    read_result,
)
from trimtab.profilers.probe_arrays import ARRAYS
from trimtab.profilers.probe_process import (
    Lines,
    ProbeDied,
    ProbeStalled,
    follow,
    request_text,
    step_limit_s,
)
from trimtab.profilers.ssh.artefacts import Artefacts, Sent
from trimtab.profilers.ssh.connection import Connection, followed
from trimtab.profilers.ssh.scripts import probe_script, stop_script
from trimtab_runtime.errors import DeviceError

_BLOCK, _BLOCK_S = 2**22, 120.0


class RemoteProbe:
    """A request on its way through the device.

    `home` is our folder there; `files` are what the request names, and the runtime, by sha256.
    Every method may raise ConnectionBroken, and may be called again on a new connection.
    """

    def __init__(
        self,
        connection: Connection,
        home: str,
        request: Any,
        files: Mapping[str, Path],
        runtime: str,
    ) -> None:
        self._connection, self._home, self._files = connection, home, files
        self._run = f"{home}/runs/{secrets.token_hex(8)}"
        self._asked, self._request = request, request_text(request, f"{self._run}/{ARRAYS}")
        self._runtime = runtime
        self._began = False

    def send(self, space_bytes: int, listener: Listener) -> None:
        """Have files and request on the device."""
        sent = Sent()

        def look() -> None:
            if 0 < sent.done_bytes < sent.total_bytes:
                listener.sending(sent.done_bytes, sent.total_bytes)

        connection = self._connection
        artefacts = Artefacts(connection.ssh, connection.sftp, f"{self._home}/artefacts")
        connection.run(artefacts.ensure(self._files, space_bytes, sent), look)
        if sent.total_bytes:
            listener.sending(sent.total_bytes, sent.total_bytes)
        connection.run(self._write_request())

    def run(self, stall_s: float, progress: Progress | None) -> None:
        """Raises ProbeStalled and ProbeDied, after which nothing of it runs any more."""
        python = f"{self._home}/env/bin/python"
        script = probe_script(self._run, python, self._runtime)
        lines = Lines()
        self._began = True
        ended = self._connection.start(followed(self._connection.ssh, script, lines))
        try:
            follow(lines, stall_s, progress, step_limit_s(self._asked, stall_s))
            status, printed = self._connection.result(ended)
        except ProbeStalled:
            ended.cancel()
            self.stop()  # which tells whether it hangs, or the connection does
            raise
        except BaseException:
            ended.cancel()
            if self._connection.is_open:
                with suppress(DeviceError):
                    self.stop()
            raise
        if status != 0:
            raise ProbeDied(status, printed)

    def stop(self) -> None:
        """Kill what runs of it, and see it gone."""
        if not self._began:
            return
        done = self._connection.shell(stop_script(shlex.quote(self._run)))
        if done.status != 0:
            raise DeviceError(
                f"process {done.out.strip()} on the device cannot be killed; restart the device"
            )

    def finished(self) -> bool:
        """Whether the answer lies there, whole: a probe that nobody saw end may have."""
        return self._began and self._connection.run(self._has_result())

    def forget(self) -> None:
        """What lies there is not to be trusted: the device was rebooted."""
        self._began = False

    def fetch(self) -> ProbeResult:
        """Raises the error that the probe tells."""
        with tempfile.TemporaryDirectory(prefix="trimtab-probe-") as folder:
            self._connection.run(self._fetch(Path(folder)))
            return read_result(Path(folder), self._asked)

    def remove(self) -> None:
        """Leave nothing of it on the device. A folder that cannot be removed now goes later."""
        with suppress(DeviceError):
            self._connection.shell(f"rm -rf {shlex.quote(self._run)}")

    async def _write_request(self) -> None:
        await self._connection.ssh.run(f"rm -rf {shlex.quote(self._run)}")
        sftp = self._connection.sftp
        await sftp.mkdir(self._run, asyncssh.SFTPAttrs(permissions=0o700))
        async with sftp.open(f"{self._run}/request.json", "w", encoding="utf-8") as file:
            await file.write(self._request)

    async def _has_result(self) -> bool:
        with tempfile.TemporaryDirectory(prefix="trimtab-probe-") as folder:
            result = Path(folder) / RESULT
            try:
                await self._copy(result, MOST_RESULT)
                json.loads(result.read_bytes())
            except (asyncssh.SFTPNoSuchFile, ValueError, RecursionError):
                return False
        return True

    async def _fetch(self, folder: Path) -> None:
        most = {RESULT: MOST_RESULT, ARRAYS: most_array_bytes(self._asked)}
        for name, most_bytes in most.items():
            with suppress(asyncssh.SFTPNoSuchFile):
                await self._copy(folder / name, most_bytes)

    async def _copy(self, target: Path, most_bytes: int) -> None:
        """A file of the run, block by block: how long it is only the device says."""
        # Any: asyncssh's types know no bytes.
        opened: Any = self._connection.sftp.open(f"{self._run}/{target.name}", "rb")
        async with opened as source:
            left = most_bytes
            with target.open("wb") as file:
                while block := await asyncio.wait_for(source.read(_BLOCK), _BLOCK_S):
                    left -= len(block)
                    if left < 0:
                        raise DeviceError(
                            f"the device's answer cannot be used: {target.name}: more than "
                            f"{most_bytes // 2**20} MB"
                        )
                    file.write(block)
