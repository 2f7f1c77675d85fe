"""Who may talk to the dashboard: whoever holds the token of this start, under a name of this
machine, from a page of the dashboard itself.

Another account of this machine reaches the port, and so does any web page that a browser here
shows: by a name that leads to 127.0.0.1 (DNS rebinding), or from another port of it.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

HEALTH = "/_stcore/health"  # says "ok" to anybody
PARAMETER = "token"
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_NO_TOKEN = (
    "This dashboard can start jobs, so it wants to know who asks: open the address that "
    "`trimtab dashboard` printed when it was started. It ends in ?token=...\n"
)
_OTHER_NAME = (
    "This dashboard does not answer to the name in the address: use that which `trimtab "
    "dashboard` printed. Behind a proxy, start it with --allowed-host NAME.\n"
)
_OTHER_PAGE = (
    "This dashboard listens to its own pages alone. Behind a proxy, start it with --allowed-host "
    "NAME, as the browser shows it.\n"
)
#: No page may show this one inside itself, nor learn its address.
_HEADERS = [
    (b"content-security-policy", b"frame-ancestors 'self'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


@dataclass(frozen=True)
class Rules:
    """`token` is what everybody must show (None: nobody needs one, as somebody else asks who is
    there). `names` are those that the Host of a request may have (None: neither it nor the Origin
    is looked at). `proxies` are hosts, with their ports where those are not the usual ones, under
    which a proxy in front shows this dashboard: names as well, and places of its pages."""

    token: str | None = None
    names: frozenset[str] | None = None
    proxies: frozenset[str] = frozenset()
    any_ip: bool = False
    cookie: str = "trimtab-dashboard"

    def knows(self, host: str) -> bool:
        """Whether a Host header names this machine."""
        name = _name(host)
        known = {*(self.names or ()), *map(_name, self.proxies)}
        return bool(name) and (name in known or (self.any_ip and _is_ip(name)))

    def shows(self, origin: str, host: str) -> bool:
        """Whether a page of this origin is the dashboard's, where it was asked for as `host`."""
        place = _place(origin)
        return place == host.lower() or place in self.proxies

    def admits(self, shown: str | None) -> bool:
        """Whether this is the token; takes as long for one that is nearly so."""
        if self.token is None:
            return True
        return shown is not None and hmac.compare_digest(shown.encode(), self.token.encode())


class Access:
    """ASGI middleware that lets through what the rules allow, and answers 403 to the rest.

    The token comes once in the address (`?token=`), which is changed for a cookie at once.
    """

    def __init__(self, app: Any, rules: Rules) -> None:
        self._app, self._rules = app, rules

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refused = self._refused(scope)
        if refused is not None:
            await _refuse(scope, send, refused)
        elif self._shows_token(scope):
            await self._enter(scope, send)
        elif scope["path"] != HEALTH and not self._rules.admits(self._cookie(scope)):
            await _refuse(scope, send, _NO_TOKEN)
        else:
            await self._app(self._as_shown(scope), receive, _with_headers(send))

    def _as_shown(self, scope: Any) -> Any:
        """With the Host that the browser shows. A proxy may have put another in its place, and
        Streamlit would ask a server of the internet whether that is this machine."""
        places = map(_place, _headers(scope, b"origin"))
        host = next((place for place in places if place in self._rules.proxies), None)
        if host is None:
            return scope
        shown = [(k, host.encode() if k == b"host" else v) for k, v in scope["headers"]]
        return {**scope, "headers": shown}

    def _refused(self, scope: Any) -> str | None:
        """Why no token helps."""
        if self._rules.names is None:
            return None  # behind a proxy, which may change the Host: Streamlit's to check
        hosts = _headers(scope, b"host")
        if len(hosts) != 1 or not self._rules.knows(hosts[0]):
            return _OTHER_NAME
        if not all(self._rules.shows(origin, hosts[0]) for origin in _headers(scope, b"origin")):
            return _OTHER_PAGE
        return None

    def _shows_token(self, scope: Any) -> bool:
        if self._rules.token is None or scope["type"] != "http" or scope["method"] != "GET":
            return False
        return self._rules.admits(dict(_query(scope)).get(PARAMETER))

    async def _enter(self, scope: Any, send: Any) -> None:
        """The same address without the token, which the browser keeps."""
        rest = urlencode([(name, value) for name, value in _query(scope) if name != PARAMETER])
        place = "/" + quote(scope["path"].lstrip("/\\")) + (f"?{rest}" if rest else "")
        cookie = f"{self._rules.cookie}={self._rules.token}; HttpOnly; SameSite=Lax; Path=/"
        headers = [(b"location", place.encode()), (b"set-cookie", cookie.encode()), *_HEADERS]
        await _answer(send, 303, headers, b"")

    def _cookie(self, scope: Any) -> str | None:
        try:
            jar = SimpleCookie("; ".join(_headers(scope, b"cookie")))
        except CookieError:
            return None
        found = jar.get(self._rules.cookie)
        return found.value if found else None


def _query(scope: Any) -> list[tuple[str, str]]:
    text = scope.get("query_string", b"").decode("latin-1")
    return parse_qsl(text, keep_blank_values=True)


def _headers(scope: Any, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _name(host: str) -> str:
    """That of a Host header, without its port; empty for what is none."""
    found = _HOST.fullmatch(host)
    return found["name"].strip("[]").rstrip(".").lower() if found else ""


def _place(origin: str) -> str:
    """Host and port of an origin; empty for one that has none ('null')."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _refuse(scope: Any, send: Any, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_HEADERS]
    await _answer(send, 403, headers, text.encode())


async def _answer(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Any) -> Any:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
        await send(message)

    return sending
