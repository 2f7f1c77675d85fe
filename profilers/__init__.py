"""Devices, and what is measured on them."""

from trimtab.profilers.device import Device, DeviceLost, Listener, ProbeResult
from trimtab.profilers.kind import DeviceKind
from trimtab.profilers.local import LocalDevice
from trimtab.profilers.recorded import RecordedDevice, RecordingDevice
from trimtab.profilers.registry import KINDS, connect, device_kind
from trimtab.profilers.ssh_address import SshTarget, parse_ssh
from trimtab.profilers.steady import SteadyDevice
from trimtab.profilers.testing import InProcessDevice, RecordOrReplayDevice

__all__ = [
    "KINDS",
    "Device",
    "DeviceKind",
    "DeviceLost",
    "InProcessDevice",
    "Listener",
    "LocalDevice",
    "ProbeResult",
    "RecordOrReplayDevice",
    "RecordedDevice",
    "RecordingDevice",
    "SshTarget",
    "SteadyDevice",
    "connect",
    "device_kind",
    "parse_ssh",
]
