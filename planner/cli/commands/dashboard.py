"""`trimtab dashboard`."""

from __future__ import annotations

import importlib.util
import ipaddress
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from trimtab.planner.cli.console import surroundings
from trimtab.planner.jobs.store_location import StoreLocation
from trimtab_runtime.errors import SpecificationError, TrimtabError

LOOPBACK = "127.0.0.1"
_SECRETS = Path(".streamlit") / "secrets.toml"
_AUTHENTICATION = """\
the dashboard starts jobs, and jobs run code that they name: who reaches it can do what you can.
To listen on {address}, put Streamlit's own OpenID Connect in front of it: in {secrets}
(here, or in the home folder) write

    [auth]
    redirect_uri = "https://HOST/oauth2callback"
    cookie_secret = "..."            # long and random
    client_id = "..."
    client_secret = "..."
    server_metadata_url = "https://IDENTITY-PROVIDER/.well-known/openid-configuration"

and `pip install streamlit[auth]`. Or keep it on {loopback}, and reach it through a tunnel:
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
    browser: Annotated[bool, typer.Option(help="Open a browser, where there is a screen.")] = True,
) -> None:
    """Look at jobs, fronts and plans in a browser, and start jobs there."""
    here = surroundings(context)
    if not (is_loopback(address) or no_authentication):
        _require_authentication(address, port)
    raise typer.Exit(_wait(subprocess.Popen(command(here, port, address, browser))))


def command(here: StoreLocation, port: int, address: str, browser: bool) -> list[str]:
    """How Streamlit runs the packaged application on this store."""
    application = importlib.util.find_spec("trimtab.dashboard")
    if application is None or not application.submodule_search_locations:
        raise TrimtabError("the dashboard is not installed; install Trimtab's whole wheel")
    folder = Path(application.submodule_search_locations[0])
    settings = {
        "server.address": address,
        "server.port": port,
        "server.headless": not browser,
        "server.fileWatcherType": "none",
        "server.maxUploadSize": 1,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "viewer",
        **_theme(folder / "theme.toml"),
    }
    words = [f"--{name}={_word(value)}" for name, value in settings.items()]
    store = here.store if "://" in here.store else str(Path(here.store).expanduser().absolute())
    application_words = ["--store", store]
    if here.artefacts is not None:
        application_words += ["--artefacts", str(here.artefacts.expanduser().absolute())]
    run = [
        sys.executable,
        "-P",
        "-m",
        "trimtab.dashboard.server",
        "run",
        str(folder / "script" / "main.py"),
    ]
    return [*run, *words, "--", *application_words]


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach it."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _require_authentication(address: str, port: int) -> None:
    """Raises SpecificationError unless Streamlit will ask everybody to log in."""
    told = _AUTHENTICATION.format(address=address, secrets=_SECRETS, loopback=LOOPBACK, port=port)
    if not any(_has_login(place / _SECRETS) for place in (Path.cwd(), Path.home())):
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


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Until it ends, which SIGTERM and Ctrl-C bring about in order; its exit status."""
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            return max(0, process.wait())  # below zero where a signal ended it
        except KeyboardInterrupt:
            process.terminate()
