"""What a device is: measurements of different fingerprints never merge."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Optional

import numpy as np
import PIL

from trimtab_runtime.engines import engine_accelerators, engine_versions
from trimtab_runtime.quota import cpu_quota, usable_threads

_ISA_FLAGS = (
    "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8",
    "asimd", "asimddp", "i8mm", "sve", "neon",
)  # fmt: skip


def fingerprint() -> dict[str, str]:
    """CPU, cores, ISA, memory, OS, governor, versions of all that computes, and execution
    providers (`accelerators`) where there are any beyond the CPU's own. `cpu_quota` is there only
    where control groups grant less than the time of these cores."""
    cpu = _cpuinfo()
    flags = (cpu.get("flags") or cpu.get("Features") or "").split()
    found = {
        "machine": platform.machine(),
        "cpu": cpu.get("model name") or cpu.get("Model") or platform.processor() or "unknown",
        "cores": str(core_count()),
        "cpu_quota": _quota_text(cpu_quota().cores),
        "isa": " ".join(flag for flag in _ISA_FLAGS if flag in flags),
        "memory_gb": _memory_gb(),
        "os": f"{platform.system()} {platform.release()}",
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        **engine_versions(),
        "accelerators": " ".join(engine_accelerators()),
    }
    return {name: value for name, value in found.items() if value}


def core_count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_limit() -> int:
    """Threads of this process that may compute all the time."""
    return usable_threads(core_count(), cpu_quota().cores)


def _quota_text(cores: Optional[float]) -> str:
    return f"{cores:.3g}" if cores is not None and cores < core_count() else ""


def _cpuinfo() -> dict[str, str]:
    found: dict[str, str] = {}
    for line in _read("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    return found


def _memory_gb() -> str:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return str(round(int(line.split()[1]) / 2**20, 1))
    return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
