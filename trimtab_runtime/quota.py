"""How much processor time a container's control groups grant, and how often they withheld it.

Read from Linux's control groups, version 2 (the kernel's cgroup-v2 documentation) and version 1
(scheduler/sched-bwc), as /proc/self/cgroup and /proc/self/mountinfo name them. A file that is
missing, unreadable or malformed says nothing, and nothing means no limit.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

_UNLIMITED = "max"
#: Folder within the hierarchy, mount point, type and options of a line of mountinfo.
_MOUNT = re.compile(r"^\S+ \S+ \S+ (\S+) (\S+) .* - (cgroup2?) \S+ (\S+)$")
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class CpuQuota:
    """The `cores` (0.5: half of one core's time) that control groups grant this process, None
    without a limit; in how many periods of the limiting groups, since these began, it was
    `throttled`: held until the next one."""

    cores: Optional[float]
    throttled: int = 0


def cpu_quota(root: str = "/") -> CpuQuota:
    """The quota of this process: the smallest of its group and all groups around it."""
    limited = [(cores, folder) for folder in _groups(root) for cores in _limit(folder)]
    if not limited:
        return CpuQuota(None)
    return CpuQuota(
        min(cores for cores, _ in limited), sum(_throttled(folder) for _, folder in limited)
    )


def usable_threads(cores: int, quota: Optional[float]) -> int:
    """Threads that may compute all the time on so many cores under a quota; at least one."""
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def _groups(root: str) -> Iterator[str]:
    """Folders of the groups of this process that may limit its time, from the inside out."""
    mounts = list(_mounts(root))
    for line in _lines(os.path.join(root, "proc/self/cgroup")):
        _, _, told = line.partition(":")
        controllers, _, path = told.partition(":")  # none: the one of version 2
        for within, place, kind, options in mounts:
            first = kind == "cgroup" and "cpu" in controllers.split(",") and "cpu" in options
            if first or (kind == "cgroup2" and not controllers):
                yield from _upwards(place, within, path)


def _mounts(root: str) -> Iterator[tuple[str, str, str, list[str]]]:
    for line in _lines(os.path.join(root, "proc/self/mountinfo")):
        match = _MOUNT.match(line)
        if match:
            within, place, kind, options = match.groups()
            place = _OCTAL.sub(lambda found: chr(int(found.group(1), 8)), place)
            yield within, os.path.join(root, place.lstrip("/")), kind, options.split(",")


def _upwards(place: str, within: str, path: str) -> Iterator[str]:
    """A group's folder and those above it, up to the mount point. A container often sees no more
    than its own group, at the mount point, whatever path it is told."""
    top = os.path.normpath(place)
    folder = os.path.normpath(os.path.join(top, os.path.relpath(path, within)))
    if not folder.startswith(top) or not os.path.isdir(folder):
        folder = top
    while True:
        yield folder
        if folder == top:
            return
        folder = os.path.dirname(folder)


def _limit(folder: str) -> list[float]:
    """The cores that a group grants; nothing without a limit."""
    quota, _, period = _read(os.path.join(folder, "cpu.max")).partition(" ")
    if not quota:
        quota = _read(os.path.join(folder, "cpu.cfs_quota_us"))
        period = _read(os.path.join(folder, "cpu.cfs_period_us"))
    try:
        granted = float(quota) / float(period) if quota != _UNLIMITED else 0.0
    except (ValueError, ZeroDivisionError):
        return []
    return [granted] if granted > 0 else []  # version 1 writes -1


def _throttled(folder: str) -> int:
    pairs = (line.split() for line in _lines(os.path.join(folder, "cpu.stat")))
    told = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
    return told.get("nr_throttled", 0)


def _lines(path: str) -> list[str]:
    return _read(path).splitlines()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
