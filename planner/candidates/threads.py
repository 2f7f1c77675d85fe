"""How many threads a device has time for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trimtab_runtime.quota import usable_threads


def thread_limit(fingerprint: Mapping[str, str]) -> int:
    """Threads that may compute all the time: cores, or what a quota of control groups leaves."""
    quota = fingerprint.get("cpu_quota")
    return usable_threads(int(fingerprint.get("cores", "1")), float(quota) if quota else None)


def quota_note(fingerprint: Mapping[str, str], threads: Sequence[int] | None) -> str:
    """What a job says of a quota, and of `threads` that were asked for beyond it; '' without."""
    quota, cores = fingerprint.get("cpu_quota"), fingerprint.get("cores", "1")
    if quota is None:
        return ""
    told = (
        f"a CPU quota grants it {quota} of {cores} core(s), as of a container: what computes "
        "longer is held for the rest of each period, and measurements are then marked as disturbed"
    )
    limit = thread_limit(fingerprint)
    beyond = [str(count) for count in threads or () if count > limit]
    if beyond:
        told += f"; runtime.threads {', '.join(beyond)} is more than the {limit} it has time for"
    return told
