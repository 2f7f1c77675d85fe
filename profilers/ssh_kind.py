"""Devices behind SSH, as a kind of device. What they do is in `ssh/`, which imports asyncssh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.profilers.device import Device
from trimtab.profilers.kind import DeviceKind
from trimtab.profilers.ssh_address import SSH, parse_ssh


class SshKind(DeviceKind):
    scheme = SSH
    form = f"{SSH}user@host"
    settings = ("host_key", "space_mb")

    def check(self, address: str, settings: Mapping[str, Any]) -> None:
        parse_ssh(address, **settings)

    def open(self, address: str, stall_s: float, settings: Mapping[str, Any]) -> Device:
        from trimtab.profilers.ssh import SshDevice

        return SshDevice(parse_ssh(address, **settings), stall_s)
