"""Which kind of device an address names."""

from __future__ import annotations

from pathlib import Path

from trimtab.profilers.device import Device
from trimtab.profilers.ssh_address import SSH, SshTarget, parse_ssh
from trimtab_runtime.errors import DeviceError


def connect(device: str | SshTarget, stall_s: float = 120.0) -> Device:
    """The device at an address; see :meth:`Device.probe` for `stall_s`. Raises DeviceError for an
    address that no device has."""
    from trimtab.profilers.local import LocalDevice
    from trimtab.profilers.recorded import SCHEME, RecordedDevice

    if isinstance(device, str) and device.startswith(SSH):
        device = parse_ssh(device)
    if isinstance(device, SshTarget):
        from trimtab.profilers.ssh import SshDevice  # imports asyncssh

        return SshDevice(device, stall_s)
    if device == "local":
        return LocalDevice(stall_s=stall_s)
    if device.startswith(SCHEME):
        return RecordedDevice(Path(device.removeprefix(SCHEME)))
    raise DeviceError(
        f"device {device!r} is unknown: there are 'local', '{SSH}user@host' and "
        f"'{SCHEME}FILE', which answers from a recording"
    )
