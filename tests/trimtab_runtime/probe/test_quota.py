"""Quotas on processor time: as kernels write them, and of real control groups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from trimtab_runtime.probe.conditions import Conditions
from trimtab_runtime.quota import CpuQuota, cpu_quota, usable_threads

_V2_MOUNT = (
    "25 31 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw\n"
    "35 24 0:30 {within} {place} ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n"
)
_V1_MOUNT = (
    "32 31 0:29 {within} {place} rw,nosuid,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "34 31 0:31 / /sys/fs/cgroup/cpuset rw,nosuid,relatime shared:15 - cgroup cgroup rw,cpuset\n"
)
_V2_STAT = "usage_usec 91\nnr_periods {periods}\nnr_throttled {held}\nthrottled_usec 812\n"
_V1_STAT = "nr_periods {periods}\nnr_throttled {held}\nthrottled_time 811213\n"


def machine(root: Path, files: Mapping[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def v2(limits: Mapping[str, str], path: str = "/", within: str = "/") -> dict[str, str]:
    """Groups of version 2 by their folder, and the one that this process is in."""
    place = "/sys/fs/cgroup"
    files = {
        "proc/self/cgroup": f"0::{path}\n",
        "proc/self/mountinfo": _V2_MOUNT.format(within=within, place=place),
    }
    for folder, limit in limits.items():
        files[f"{place}{folder}/cpu.max"[1:]] = limit
        files[f"{place}{folder}/cpu.stat"[1:]] = _V2_STAT.format(periods=1011, held=396)
    return files


def v1(quota: int, path: str, folder: str, within: str = "/") -> dict[str, str]:
    place = "/sys/fs/cgroup/cpu,cpuacct"
    inside = f"{place}{folder}"[1:]
    return {
        "proc/self/cgroup": f"11:memory:{path}\n4:cpu,cpuacct:{path}\n3:cpuset:/\n0::/\n",
        "proc/self/mountinfo": _V1_MOUNT.format(within=within, place=place),
        f"{inside}/cpu.cfs_quota_us": f"{quota}\n",
        f"{inside}/cpu.cfs_period_us": "100000\n",
        f"{inside}/cpu.stat": _V1_STAT.format(periods=20, held=7),
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, CpuQuota(None)),
        (v2({"": "max 100000\n"}), CpuQuota(None)),
        (v2({"": "50000 100000\n"}), CpuQuota(0.5, 396)),
        (v2({"/a/b": "max 100000\n", "/a": "150000 100000\n"}, "/a/b"), CpuQuota(1.5, 396)),
        (v2({"/a/b": "50000 50000\n", "/a": "30000 100000\n"}, "/a/b"), CpuQuota(0.3, 792)),
        # What a container with a name space of its own is told of a process beside it.
        (v2({"": "50000 100000\n"}, "/../other"), CpuQuota(0.5, 396)),
        (v2({"": "50000 100000\n"}, "/docker/7a1", "/docker/7a1"), CpuQuota(0.5, 396)),
        (v2({"": "no number\n"}), CpuQuota(None)),
        (v2({"": "50000 0\n"}), CpuQuota(None)),
        (v1(-1, "/user", "/user"), CpuQuota(None)),
        (v1(50000, "/user", "/user"), CpuQuota(0.5, 7)),
        # Docker without a name space: the path is the host's, the files lie at the mount point.
        (v1(200000, "/docker/7a1", "", "/docker/7a1"), CpuQuota(2.0, 7)),
        (v1(200000, "/docker/7a1", ""), CpuQuota(2.0, 7)),
    ],
)
def test_quotas_as_kernels_write_them(
    tmp_path: Path, files: dict[str, str], expected: CpuQuota
) -> None:
    assert cpu_quota(machine(tmp_path, files)) == expected


def test_threads_under_a_quota() -> None:
    assert [usable_threads(4, quota) for quota in (None, 0.5, 1.0, 2.7, 16.0)] == [4, 1, 1, 2, 4]


def test_periods_that_were_held_during_a_measurement_disturb_it(tmp_path: Path) -> None:
    root = machine(tmp_path, v2({"": "50000 100000\n"}))
    conditions = Conditions(root, cores=[0])
    conditions.start()
    (tmp_path / "sys/fs/cgroup/cpu.stat").write_text(_V2_STAT.format(periods=1031, held=408))
    found = conditions.finish()
    assert found.values == {"quota_throttled": 12.0}
    assert found.warnings == [
        "the CPU quota of its container held the process in 12 period(s) of the measurement; use "
        "fewer threads, or raise the quota (docker run --cpus, cpu.max)"
    ]
    conditions.start()
    assert conditions.finish().warnings == []


_TOLD = """
import json
from trimtab_runtime.fingerprint import fingerprint, thread_limit
from trimtab_runtime.probe.conditions import Conditions
from trimtab_runtime.quota import cpu_quota
import time
conditions = Conditions()
conditions.start()
before = cpu_quota().throttled
while {busy} and cpu_quota().throttled < before + 3:
    sum(range(10000))
found = conditions.finish()
told = fingerprint()
print(json.dumps([told, thread_limit(), found.values, found.warnings]))
"""


def told(
    before: str = "", busy: bool = False
) -> tuple[dict[str, str], int, dict[str, float], str]:
    """Fingerprint, threads, and what disturbed a process that begins with `before`."""
    done = subprocess.run(
        [sys.executable, "-c", before + _TOLD.format(busy=busy)],
        check=True,
        capture_output=True,
        text=True,
    )
    found, threads, values, warnings = json.loads(done.stdout)
    return found, threads, values, "; ".join(warnings)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no cores to be bound to")
def test_cores_that_a_process_is_bound_to_are_those_that_it_has() -> None:
    core = max(os.sched_getaffinity(0))
    found, threads, _, _ = told(f"import os; os.sched_setaffinity(0, {{{core}}})")
    assert (found["cores"], threads) == ("1", 1)


@pytest.fixture
def half_a_core() -> Iterator[Path]:
    """A real control group whose processes share half a core."""
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    parent = Path("/sys/fs/cgroup") if unified else Path("/sys/fs/cgroup/cpu")
    group = parent / f"trimtab-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here ({error})")
    try:
        if unified and not (group / "cpu.max").exists():
            pytest.skip("no control group of processor time here")
        limit = ("cpu.max", "50000 100000") if unified else ("cpu.cfs_quota_us", "50000")
        (group / limit[0]).write_text(limit[1])
        yield group
    finally:
        group.rmdir()


def test_a_real_quota_is_in_the_fingerprint_and_what_it_held_is_told(half_a_core: Path) -> None:
    enter = f"import os; open('{half_a_core}/cgroup.procs', 'w').write(str(os.getpid()))"
    found, threads, values, warnings = told(enter, busy=True)
    assert (found["cpu_quota"], threads) == ("0.5", 1)
    assert values["quota_throttled"] >= 3
    assert "the CPU quota of its container held the process in" in warnings
    free = told()[0]
    if "cpu_quota" not in free:  # unless these tests run under one themselves
        assert found == {**free, "cpu_quota": "0.5"}
