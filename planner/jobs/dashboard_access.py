"""What `trimtab dashboard` and the server that it starts agree on."""

from __future__ import annotations

import ipaddress
import re

from trimtab_runtime.errors import SpecificationError

#: The environment variable that holds the token which everybody must show; what was in it already
#: is used, so that a dashboard can be started again under the same address.
TOKEN = "TRIMTAB_DASHBOARD_TOKEN"
#: The environment variable that is set where everybody must log in.
LOGIN = "TRIMTAB_DASHBOARD_LOGIN"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)(:[0-9]{1,5})?")


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach it."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def proxy_host(text: str) -> str:
    """A host as a browser shows it, in lower case: a name, with its port where that is not the
    usual one. Raises SpecificationError."""
    if not _HOST.fullmatch(text):
        raise SpecificationError(
            f"--allowed-host must be a name as the browser shows it, as dash.example.org or "
            f"dash.example.org:8443, got {text!r}"
        )
    return text.lower()
