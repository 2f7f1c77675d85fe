"""`trimtab dashboard`."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import signal
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from trimtab.planner.cli.console import surroundings
from trimtab.planner.jobs.dashboard_access import LOGIN, TOKEN, is_loopback, proxy_host
from trimtab.planner.jobs.store_location import StoreLocation
from trimtab_runtime.errors import SpecificationError, TrimtabError

LOOPBACK = "127.0.0.1"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,}")
_SECRETS = Path(".streamlit") / "secrets.toml"
_AUTHENTICATION = """\
the dashboard starts jobs, and jobs run code that they name: who reaches it can do what you can.
To have people log in, put Streamlit's own OpenID Connect in front of it: in {secrets}
(here, or in the home folder) write

    [auth]
    redirect_uri = "https://HOST/oauth2callback"
    cookie_secret = "..."            # long and random
    client_id = "..."
    client_secret = "..."
    server_metadata_url = "https://IDENTITY-PROVIDER/.well-known/openid-configuration"

and `pip install streamlit[auth]`."""
_OTHER_ADDRESS = """ Or keep it on {loopback}, and reach it through a tunnel:
`ssh -L {port}:localhost:{port} HOST`. On a network that you trust wholly, --no-authentication
opens it to everybody there."""


def dashboard(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where it listens.")] = 8501,
    address: Annotated[
        str, typer.Option(help="The address it listens on; another needs authentication.")
    ] = LOOPBACK,
    no_authentication: Annotated[
        bool,
        typer.Option(
            "--no-authentication",
            help="Listen on another address though nobody has to log in.",
        ),
    ] = False,
    login: Annotated[
        bool,
        typer.Option(
            "--login",
            help="Have people log in by OpenID Connect on this address too, instead of the token.",
        ),
    ] = False,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A name under which a reverse proxy shows it, as dash.example.org; repeat it for "
            "more."
        ),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser, where there is a screen.")] = True,
) -> None:
    """Look at jobs, fronts and plans in a browser, and start jobs there."""
    here = surroundings(context).nearest()
    proxies = list(map(proxy_host, allowed_host or ()))
    login = login or not (is_loopback(address) or no_authentication)
    if login:
        _require_authentication(address, port)
    token = _token() if is_loopback(address) and not login else None
    words = command(port, address, browser, login, proxies)
    raise typer.Exit(_wait(subprocess.Popen(words, env=environment(here, token, login))))


def _token() -> str:
    """A new one, or that of the environment. Raises SpecificationError where that will not do."""
    given = os.environ.get(TOKEN)
    if given is None:
        return secrets.token_urlsafe(32)
    if not _TOKEN.fullmatch(given):
        raise SpecificationError(
            f"{TOKEN} must be 16 or more letters, digits, - and _, as `python -c 'import secrets; "
            "print(secrets.token_urlsafe(32))'` makes them"
        )
    return given


def command(
    port: int, address: str, browser: bool, login: bool, proxies: Sequence[str] = ()
) -> list[str]:
    """How the packaged application is served. Nothing in it is a secret."""
    if importlib.util.find_spec("trimtab.dashboard") is None:
        raise TrimtabError("the dashboard is not installed; install Trimtab's whole wheel")
    run = [sys.executable, "-P", "-m", "trimtab.dashboard.server"]
    run += ["--port", str(port), "--address", address]
    for host in proxies:
        run += ["--allowed-host", host]
    return [*run, *(["--browser"] if browser else []), *(["--login"] if login else [])]


def environment(here: StoreLocation, token: str | None, login: bool = False) -> dict[str, str]:
    """What the server reads: where the store lies, the token, and whether everybody must log
    in."""
    found = {name: told for name, told in os.environ.items() if name not in (TOKEN, LOGIN)}
    found |= here.environment() | ({TOKEN: token} if token else {})
    return found | ({LOGIN: "1"} if login else {})


def _require_authentication(address: str, port: int) -> None:
    """Raises SpecificationError unless Streamlit will ask everybody to log in."""
    told = _AUTHENTICATION.format(secrets=_SECRETS)
    if not is_loopback(address):
        told += _OTHER_ADDRESS.format(loopback=LOOPBACK, port=port)
    found = [_has_login(place / _SECRETS) for place in (Path.cwd(), Path.home())]
    if not any(found):  # both were read: Streamlit takes neither where one is damaged
        raise SpecificationError(told)
    if importlib.util.find_spec("authlib") is None:
        raise SpecificationError(
            "[auth] is configured, but Streamlit logs nobody in without Authlib: "
            "pip install streamlit[auth]"
        )


def _has_login(path: Path) -> bool:
    try:
        return bool(tomllib.loads(path.read_text(encoding="utf-8")).get("auth"))
    except OSError:
        return False
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecificationError(f"{path}: not TOML ({error})") from None


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Until it ends, which SIGTERM and Ctrl-C bring about in order; its exit status."""
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            return max(0, process.wait())  # below zero where a signal ended it
        except KeyboardInterrupt:
            process.terminate()
