"""What `trimtab dashboard` and the server that it starts agree on."""

from __future__ import annotations

import ipaddress

#: The environment variable that holds the token which everybody must show; what was in it already
#: is used, so that a dashboard can be started again under the same address.
TOKEN = "TRIMTAB_DASHBOARD_TOKEN"


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach it."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
