"""Devices, and what is measured on them."""

from profilers.address import SshTarget, parse_ssh
from profilers.device import Device, DeviceLost, Listener, ProbeResult, connect
from profilers.local import LocalDevice
from profilers.recorded import RecordedDevice, RecordingDevice

__all__ = [
    "Device",
    "DeviceLost",
    "Listener",
    "LocalDevice",
    "ProbeResult",
    "RecordedDevice",
    "RecordingDevice",
    "SshTarget",
    "connect",
    "parse_ssh",
]
