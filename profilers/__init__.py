"""Devices, and what is measured on them."""

from trimtab.profilers.device import Device, DeviceLost, Listener, ProbeResult
from trimtab.profilers.kind import DeviceKind
from trimtab.profilers.local import LocalDevice
from trimtab.profilers.recorded import RecordedDevice, RecordingDevice
from trimtab.profilers.registry import KINDS, connect, device_kind
from trimtab.profilers.ssh_address import SshTarget, parse_ssh

__all__ = [
    "KINDS",
    "Device",
    "DeviceKind",
    "DeviceLost",
    "Listener",
    "LocalDevice",
    "ProbeResult",
    "RecordedDevice",
    "RecordingDevice",
    "SshTarget",
    "connect",
    "device_kind",
    "parse_ssh",
]
