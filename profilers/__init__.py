"""Devices, and what is measured on them."""

from profilers.device import Device, ProbeResult, connect
from profilers.local import LocalDevice

__all__ = ["Device", "LocalDevice", "ProbeResult", "connect"]
