"""Devices, and what is measured on them."""

from profilers.device import Device, ProbeResult, connect
from profilers.local import LocalDevice
from profilers.recorded import RecordedDevice, RecordingDevice

__all__ = [
    "Device",
    "LocalDevice",
    "ProbeResult",
    "RecordedDevice",
    "RecordingDevice",
    "connect",
]
