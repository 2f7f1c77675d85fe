"""Files on a device, named by their content: sent once, bounded, the longest unused go first."""

from __future__ import annotations

import asyncio
import hashlib
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from trimtab_runtime.errors import DeviceError

_BLOCK, _BLOCK_S = 2**18, 120.0
_AT_ONCE = 6
_PART = ".part"
_MOST_FILES = 100_000
_RESERVE_BYTES = 8 * 2**20  # for what a probe writes


@dataclass
class Sent:
    """How far an upload is, for whoever looks from another thread."""

    done_bytes: int = 0
    total_bytes: int = 0


class Artefacts:
    """The folder of artefacts on a device. Coroutines, for Connection.run."""

    def __init__(self, ssh: asyncssh.SSHClientConnection, sftp: asyncssh.SFTPClient, folder: str):
        self._ssh, self._sftp, self._folder = ssh, sftp, folder

    async def ensure(self, wanted: Mapping[str, Path], space_bytes: int, sent: Sent) -> None:
        """Have every file of `wanted`, by sha256, on the device. A file that is complete bears its
        name, and only then. Others make room, the longest unused first.

        Raises DeviceError where they need more than `space_bytes` or the disk has, and where a
        local file is not what it was.
        """
        there = await self._list()
        sizes = {sha: _size(path) for sha, path in wanted.items() if sha not in there}
        await self._touch(sha for sha in wanted if sha in there)
        sent.total_bytes = sum(sizes.values())
        await self._make_room(there, wanted, sent.total_bytes, space_bytes)
        gate = asyncio.Semaphore(_AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                for sha in sizes:
                    group.create_task(self._send(sha, wanted[sha], gate, sent))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def used_bytes(self) -> tuple[int, int]:
        """Number of files, and what they take."""
        there = await self._list()
        return len(there), sum(size for size, _ in there.values())

    async def remove_all(self) -> None:
        """Empty the folder."""
        await self._remove(await self._sftp.listdir(self._folder))

    async def _list(self) -> dict[str, tuple[int, int]]:
        """Size and time of last use of every file."""
        found: dict[str, tuple[int, int]] = {}
        async for entry in self._sftp.scandir(self._folder):
            name, attributes = str(entry.filename), entry.attrs
            if len(found) >= _MOST_FILES:
                raise DeviceError(
                    f"the device lists more than {_MOST_FILES} files in {self._folder}: empty it"
                )
            if not name.startswith("."):
                found[name] = (attributes.size or 0, attributes.mtime or 0)
        empty = [name for name, (size, _) in found.items() if size == 0]
        await self._remove(empty)  # what a loss of power left of a file
        return {name: state for name, state in found.items() if name not in empty}

    async def _touch(self, names: Iterable[str]) -> None:
        """Note the use, by the device's own clock: others may be years away."""
        given = "\n".join(names)
        if given:
            await self._ssh.run(f"cd {shlex.quote(self._folder)} && xargs touch -c", input=given)

    async def _make_room(
        self,
        there: Mapping[str, tuple[int, int]],
        wanted: Mapping[str, Path],
        new_bytes: int,
        space_bytes: int,
    ) -> None:
        used = sum(size for size, _ in there.values())
        kept = sum(size for name, (size, _) in there.items() if name in wanted)
        if kept + new_bytes > space_bytes:
            raise DeviceError(
                f"a step needs {_mb(kept + new_bytes)} on the device, and may have "
                f"{_mb(space_bytes)}: raise device.space_mb"
            )
        free = await self._free_bytes()
        lacking = max(used + new_bytes - space_bytes, new_bytes + _RESERVE_BYTES - free)
        idle = sorted((time, name, size) for name, (size, time) in there.items())
        leaving = []
        for _, name, size in idle:
            if lacking > 0 and name not in wanted:
                leaving.append(name)
                lacking -= size
        await self._remove(leaving)
        if leaving:
            lacking = new_bytes + _RESERVE_BYTES - await self._free_bytes()
        if lacking > 0:
            raise self._full(new_bytes, await self._free_bytes())

    async def _free_bytes(self) -> int:
        found = await self._sftp.statvfs(self._folder)
        return (found.bavail or 0) * (found.frsize or 0)

    def _full(self, needed: int, free: int) -> DeviceError:
        return DeviceError(
            f"the device's disk is full: {_mb(needed)} are to be sent, {_mb(_RESERVE_BYTES)} are "
            f"kept for results, and {_mb(free)} are free in {self._folder}; make room there"
        )

    async def _send(self, sha: str, path: Path, gate: asyncio.Semaphore, sent: Sent) -> None:
        part = f"{self._folder}/.{sha}{_PART}"
        async with gate:
            digest = hashlib.sha256()
            try:
                async with self._sftp.open(part, "wb") as target:
                    for block in _blocks(path):
                        digest.update(block)
                        await asyncio.wait_for(target.write(block), _BLOCK_S)
                        sent.done_bytes += len(block)
            except asyncssh.SFTPFailure as error:  # all that version 3 says of a full disk
                free = await self._free_bytes()
                await self._remove([f".{sha}{_PART}"])
                if free < _RESERVE_BYTES:
                    raise self._full(sent.total_bytes, free) from error
                raise
            if digest.hexdigest() != sha:
                raise DeviceError(f"{path} was changed while a job was using it")
            await self._sftp.posix_rename(part, f"{self._folder}/{sha}")

    async def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            if str(name) not in (".", ".."):
                await self._sftp.remove(f"{self._folder}/{name}")


def sha256_of(path: Path) -> str:
    """Raises DeviceError for a file that cannot be read."""
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                yield block
    except OSError as error:
        raise _unreadable(path, error) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DeviceError:
    return DeviceError(f"{path} cannot be read to be sent to the device: {error.strerror}")


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MB"
