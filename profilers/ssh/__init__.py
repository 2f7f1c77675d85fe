"""Devices behind SSH."""

from profilers.ssh.connection import Patience
from profilers.ssh.device import SshDevice
from profilers.ssh.trust import UnknownHostKey, remember_host

__all__ = ["Patience", "SshDevice", "UnknownHostKey", "remember_host"]
