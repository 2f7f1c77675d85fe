"""The kinds of devices that there are, and the one that an address names."""

from __future__ import annotations

from typing import Any

from trimtab.profilers.device import Device
from trimtab.profilers.kind import DeviceKind
from trimtab.profilers.local import LocalKind
from trimtab.profilers.recorded import RecordedKind
from trimtab.profilers.ssh_kind import SshKind
from trimtab_runtime.errors import DeviceError

#: A new kind is a line here, and passes tests/profilers/test_device_contract.py.
KINDS: tuple[DeviceKind, ...] = (
    LocalKind(),
    SshKind(),
    RecordedKind(),
)


def device_kind(address: str) -> DeviceKind:
    """The kind of device at an address. Raises DeviceError for an address that no device has."""
    for kind in KINDS:
        if kind.has(address):
            return kind
    forms = [f"'{kind.form}'" for kind in KINDS]
    raise DeviceError(
        f"device {address!r} is unknown: there are {', '.join(forms[:-1])} and {forms[-1]}"
    )


def connect(address: str, stall_s: float = 120.0, **settings: Any) -> Device:
    """The device at an address, with those `settings` of a specification's device that its kind
    takes; see :meth:`Device.probe` for `stall_s`. Raises DeviceError for an address that no
    device has."""
    return device_kind(address).open(address, stall_s, settings)
