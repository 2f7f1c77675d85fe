"""Devices behind SSH."""

from trimtab.profilers.ssh.connection import Patience
from trimtab.profilers.ssh.device import SshDevice
from trimtab.profilers.ssh.trust import UnknownHostKey, remember_host

__all__ = ["Patience", "SshDevice", "UnknownHostKey", "remember_host"]
