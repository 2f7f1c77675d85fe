"""What a planner may expect of a device, wherever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from trimtab_runtime.codec import content_key
from trimtab_runtime.errors import (
    BundleError,
    DeviceError,
    EngineError,
    InferenceError,
    ModelError,
    TrimtabError,
    WorkloadError,
    told_error,
)
from trimtab_runtime.probe.requests import FingerprintRequest

Progress = Callable[[int, int], None]
_ERRORS = (BundleError, EngineError, InferenceError, ModelError, WorkloadError)


@dataclass(frozen=True)
class ProbeResult:
    """What a probe brought back: numbers, raw samples, arrays, warnings with their remedy, and
    details (how a figure was found) in words."""

    values: Mapping[str, float]
    samples: Mapping[str, list[float]]
    warnings: list[str] = field(default_factory=list)
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


class DeviceLost(DeviceError):
    """A device is gone for good, or is not what it was: nothing more can be measured on it now,
    and no candidate is to blame."""


class Listener:
    """What a device tells while it works, in the thread of its caller."""

    def trouble(self, kind: str, text: str) -> None:
        """Something went wrong and is being dealt with; `kind` names it for a summary."""

    def waiting(self) -> None:
        """The device is away, and waited for."""

    def sending(self, done_bytes: int, total_bytes: int) -> None:
        """Files are on their way to the device."""


class Device(ABC):
    """A place where inference happens.

    One caller at a time. A request runs in a fresh process on the device. Whatever the model
    does there (crash, hang, out of memory) reaches the caller as a TrimtabError, never as a
    result. A DeviceLost says that it is no use to go on.
    """

    address: str
    listener: Listener = Listener()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the device; the next request takes hold of it again."""
        return

    def machine(self) -> str:
        """What tells this very machine from another with the same fingerprint; empty where
        nothing does. Known once a request was answered."""
        return ""

    def identity(self) -> str:
        """What tells this machine from any other for as long as it exists, whatever it says of
        itself; empty where nothing does. Known once a request was answered."""
        return ""

    @property
    def measures(self) -> bool:
        """Whether the same request asked again is measured again."""
        return True

    @abstractmethod
    def put(self, path: Path) -> str:
        """The path of a file of this machine on the device, where it is when a request names it.
        The file must stay as it is until then."""

    @abstractmethod
    def probe(
        self,
        request: Any,
        *,
        stall_s: float | None = None,
        progress: Progress | None = None,
        bundle: str | None = None,
    ) -> ProbeResult:
        """Run one request of trimtab_runtime.probe.requests.

        `stall_s`: seconds without a sign of life after which the process is killed (None: what the
        device was made with). `bundle`: a path on the device whose own trimtab_runtime does the
        work. A request's `output` is chosen by the device and comes back in `arrays`.

        Raises DeviceError when the process died or stalled, and the probe's own error otherwise.
        """

    def fingerprint(self) -> dict[str, str]:
        """CPU, cores, ISA, memory, OS and versions (trimtab_runtime.fingerprint)."""
        return dict(self.probe(FingerprintRequest()).fingerprint)


def device_key(fingerprint: Mapping[str, str]) -> str:
    """sha256 of a fingerprint: measurements with different keys never merge."""
    return content_key(dict(fingerprint))


def machine_key(fingerprint: Mapping[str, str], machine: str) -> str:
    """What the very `machine` (:meth:`Device.machine`) is leased as."""
    return content_key([device_key(fingerprint), machine])


def probe_error(error: str, reason: str) -> TrimtabError:
    """The error that a probe reported, of its own class where that is one that a probe may have:
    the others end more than a step."""
    if error == "MemoryError":
        reason = "the device ran out of memory; take a smaller model or input size, or free memory"
    return told_error(error, reason, DeviceError, _ERRORS)
