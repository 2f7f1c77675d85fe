"""The dashboard's server: `python -m trimtab.dashboard.server --port 8501`.

Imports take seconds on a small machine; so they are over before anybody is told the address. What
they made stays, and reading a front of thousands of plans makes no garbage: looking through all of
it for some took a third of that reading.

Where the store lies, and the token that everybody must show, come by the environment: what stands
in the arguments of a process can be read by every account of the machine.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import socket
import sys
import tempfile
import tomllib
import webbrowser
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from html import escape
from pathlib import Path
from typing import Any

import pandas  # noqa: F401  # every table needs it
import streamlit as st
from starlette.middleware import Middleware

import trimtab.dashboard.application  # noqa: F401
from trimtab.dashboard.access import PARAMETER, Access, Rules
from trimtab.planner.jobs.dashboard_access import TOKEN, is_loopback

_FOLDER = Path(__file__).parent
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_EVERYWHERE = ("0.0.0.0", "::")


def serve(
    port: int,
    address: str,
    browser: bool,
    login: bool,
    token: str | None,
    proxies: Sequence[str] = (),
) -> None:
    """Serve until a signal ends this process. `login`: Streamlit's own asks who is there;
    `proxies` are hosts under which a proxy shows this."""
    rules = access_rules(address, port, login, token, proxies)
    shown = "localhost" if address in _EVERYWHERE else address
    host = f"[{shown}]" if ":" in shown else shown
    place = f"http://{host}:{port}/" + (f"?{PARAMETER}={token}" if token else "")

    @asynccontextmanager
    async def told(app: object) -> AsyncGenerator[None, None]:
        """The socket is bound by now: whoever comes at once waits for the first answer."""
        print(f"Dashboard: {place}", flush=True)
        if browser:
            _open(place)
        yield

    script = _FOLDER / "script" / "main.py"
    app = st.App(script, lifespan=told, middleware=[Middleware(Access, rules=rules)])
    sys.argv = [str(script)]  # whose folder Streamlit puts on the import path
    app.run(config=settings(port, address))


def access_rules(
    address: str, port: int, login: bool, token: str | None, proxies: Sequence[str] = ()
) -> Rules:
    """Who is let in. On another address than loopback the names behind a login are those of
    whatever proxy stands in front, unless it is named."""
    cookie = f"trimtab-dashboard-{port}"  # cookies are of a host, whatever the port
    hosts = frozenset(proxies)
    if is_loopback(address):
        return Rules(token, _LOOPBACK | {address.lower()}, hosts, cookie=cookie)
    if login and not hosts:
        return Rules(token, cookie=cookie)
    name = socket.gethostname().lower()
    own = {name, f"{name}.local", socket.getfqdn().lower(), address.lower()}
    return Rules(token, _LOOPBACK | own, hosts, any_ip=True, cookie=cookie)


def settings(port: int, address: str) -> dict[str, Any]:
    """Streamlit's options."""
    return {
        "server.address": address,
        "server.port": port,
        "server.headless": True,  # the browser is opened here, with the token
        "server.fileWatcherType": "none",
        "server.maxUploadSize": 1,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "viewer",
        "logger.hideWelcomeMessage": True,  # it tells the address without the token
        **_theme(_FOLDER / "theme.toml"),
    }


def _theme(path: Path) -> dict[str, object]:
    """Streamlit's options from a file of its theme section."""
    found: dict[str, object] = {}

    def walk(prefix: str, values: dict[str, object]) -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                walk(f"{prefix}.{name}", value)
            else:
                found[f"{prefix}.{name}"] = value

    walk("theme", tomllib.loads(path.read_text(encoding="utf-8")))
    return found


def _open(place: str) -> None:
    """Show the address in a browser, by a file that only this account can read: what a browser is
    started with can be read by all."""
    handle, name = tempfile.mkstemp(prefix="trimtab-dashboard-", suffix=".html")
    atexit.register(_remove, name)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f'<meta http-equiv="refresh" content="0; url={escape(place)}">\n')
    webbrowser.open(Path(name).as_uri())


def _remove(name: str) -> None:
    with suppress(OSError):
        os.unlink(name)


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="dashboard")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--login", action="store_true")
    parser.add_argument("--allowed-host", action="append", default=[])
    found = parser.parse_args(words)
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    # Taken out, so that jobs started here do not have it.
    token = os.environ.pop(TOKEN, None)
    serve(found.port, found.address, found.browser, found.login, token, found.allowed_host)


if __name__ == "__main__":
    main(sys.argv[1:])
