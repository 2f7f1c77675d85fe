"""What tells one kind of device from another: its addresses, and how such a device is opened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimtab.profilers.device import Device


class DeviceKind(ABC):
    """One kind of device; registry.py lists them all.

    `scheme` is what its addresses begin with, `form` how errors show one. `settings` are the
    fields of a specification's `device` that it takes beside the address.
    """

    scheme: str
    form: str
    settings: tuple[str, ...] = ()

    def has(self, address: str) -> bool:
        """Whether an address is of this kind."""
        return address.startswith(self.scheme)

    def check(self, address: str, settings: Mapping[str, Any]) -> None:
        """Raises DeviceError where a device of this kind cannot have this address, or these
        `settings`. Reaches for no device."""
        return

    def label(self, address: str) -> str:
        """What a device is called that was given no name."""
        return address.removeprefix(self.scheme)

    def absolute(self, address: str, folder: Path) -> str:
        """The address, with a path of this machine that is relative to `folder` made absolute."""
        return address

    @abstractmethod
    def open(self, address: str, stall_s: float, settings: Mapping[str, Any]) -> Device:
        """The device; see :meth:`Device.probe` for `stall_s`. Raises DeviceError as `check` does,
        and where there is no such device."""
