"""Requests of strangers to a dashboard that was really started: another account of the machine, a
web page in a browser here, a name that leads to 127.0.0.1; and specifications that they upload."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks._options import ROOT
from benchmarks.hostile.cases import (
    TRACEBACK,
    Attempt,
    Case,
    Ended,
    Harmed,
    Traced,
    end,
    resident_gb,
)
from trimtab.planner.jobs.background import read_uploaded
from trimtab.planner.jobs.dashboard_access import TOKEN

_KEY = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
_WEBSOCKET = f"Upgrade: websocket\r\nConnection: Upgrade\r\n{_KEY}"
_BODY = "Content-Length: 3\r\n"
#: Asked for, and what else is in the request.
_PLACES = {
    "page": ("GET /", ""),
    "start": ("GET /start", ""),
    "websocket": ("GET /_stcore/stream", _WEBSOCKET),
    "upload": ("PUT /_stcore/upload_file/a/b", _BODY),
    "media": ("GET /media/abc", ""),
    "config": ("GET /_stcore/host-config", ""),
}
_OWN = "Host: 127.0.0.1:{port}\r\n"
_COOKIE = "Cookie: trimtab-dashboard-{port}={token}\r\n"
#: Who asks.
_STRANGERS = {
    "no-token": _OWN,
    "wrong-token": _OWN + "Cookie: trimtab-dashboard-{port}=x{token}\r\n",
    "cut-token": _OWN + "Cookie: trimtab-dashboard-{port}=\r\n",
    "other-port": _OWN + "Cookie: trimtab-dashboard-1={token}\r\n",
    "rebound": "Host: evil.example:{port}\r\nOrigin: http://evil.example:{port}\r\n" + _COOKIE,
    "other-origin": _OWN + "Origin: http://evil.example\r\n" + _COOKIE,
    "neighbour": _OWN + "Origin: http://127.0.0.1:1\r\n" + _COOKIE,
    "null-origin": _OWN + "Origin: null\r\n" + _COOKIE,
    "two-hosts": _OWN + "Host: evil.example\r\n" + _COOKIE,
    "no-host": _COOKIE,
}
_RAW: Mapping[str, bytes] = {
    "no-http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "long-header": b"GET / HTTP/1.1\r\nX: " + b"a" * 2_000_000,
    "many-headers": b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 50_000,
    "long-path": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
    "length-beyond": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
    "length-below": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "odd-cookie": b'GET / HTTP/1.1\r\nHost: localhost\r\nCookie: a="\\\xff\x80;;=\r\n\r\n',
    "odd-host": b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "odd-token": b"GET /?token=%ff%00%d8%00&token[]=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "up-the-folders": b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "smuggled": b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Length: 4\r\n\r\n0\r\n\r\nGET /start HTTP/1.1\r\n\r\n",
}
_UPLOADS = {
    "os-system": "{entry: 'os:system', arguments: {command: 'touch MARK'}}",
    "library-folder": "{entry: 'os:system', arguments: {command: 'touch MARK'}, folder: LIBRARY}",
    "subprocess": "{entry: 'subprocess:run', arguments: {args: [touch, MARK]}}",
    "builtin": "{entry: 'builtins:exec', arguments: {source: '1'}}",
    "runpy": "{entry: 'runpy:run_path', arguments: {path_name: /tmp/x.py}}",
    "up-the-folders": "{entry: 'a:b', folder: ../../../../usr/lib}",
}


def cases(seed: int) -> Iterator[Case]:
    """Every stranger at every place, requests that are none, and uploads."""
    for who in _STRANGERS:
        yield Case(who, _stranger(who))
    for name, request in _RAW.items():
        yield Case(f"raw-{name}", _raw(request))
    for name, torch in _UPLOADS.items():
        yield Case(f"upload-{name}", _upload(torch))


@contextmanager
def _dashboard(attempt: Attempt) -> Iterator[tuple[int, str, Callable[[], None]]]:
    """Port and token of one that runs, and what looks whether it still does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    token, log = secrets.token_urlsafe(32), attempt.folder / "log"
    code = "import sys; from trimtab.planner.cli import main; sys.exit(main())"
    call = [sys.executable, "-P", "-c", code, "--store", str(attempt.folder / "s.db"), "dashboard"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*call, "--port", str(port), "--no-browser"],
            cwd=attempt.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), TOKEN: token},
            stdout=stream,
            stderr=stream,
        )

    def look() -> None:
        told = _ask(
            port, f"GET /_stcore/health HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode()
        )
        if b" 200 " not in told[:20]:
            raise Ended(f"it answers no more: {told[:100]!r}")
        if TRACEBACK in log.read_text(encoding="utf-8", errors="replace"):
            raise Traced("the dashboard's log holds one")
        attempt.peak_gb = max(attempt.peak_gb, *(resident_gb(each) for each in _family(process)))

    try:
        until = time.monotonic() + 150
        while "Dashboard: " not in log.read_text(encoding="utf-8", errors="replace"):
            if process.poll() is not None or time.monotonic() > until:
                raise Ended(f"it did not start: {log.read_text(encoding='utf-8')[-300:]}")
            time.sleep(0.1)
        began = time.monotonic()
        yield port, token, look
        attempt.silence_s = max(0.1, time.monotonic() - began)
    finally:
        end(process)


def _family(process: subprocess.Popen[bytes]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
    return [process.pid, *map(int, children.split())]


def _ask(port: int, request: bytes) -> bytes:
    """The beginning of the answer to a raw request; empty where the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as wire:
        try:
            wire.sendall(request)
            return wire.recv(4096)
        except (ConnectionError, TimeoutError):
            return b""


def _status(told: bytes) -> int:
    found = re.match(rb"HTTP/1.1 (\d+)", told)
    return int(found[1]) if found else 0


def _stranger(who: str) -> Callable[[Attempt], None]:
    """At every place; whoever has the token gets in."""

    def run(attempt: Attempt) -> None:
        with _dashboard(attempt) as (port, token, look):
            for name, (what, more) in _PLACES.items():
                lines = _STRANGERS[who].format(port=port, token=token)
                told = _ask(port, f"{what} HTTP/1.1\r\n{lines}{more}\r\nabc".encode())
                if _status(told) not in (400, 403):
                    raise Harmed(f"{name} answered {told[:60]!r}")
            own = (_OWN + _COOKIE).format(port=port, token=token)
            if _status(_ask(port, f"GET / HTTP/1.1\r\n{own}\r\n".encode())) != 200:
                raise Ended("its owner is not let in")
            look()

    return run


def _raw(request: bytes) -> Callable[[Attempt], None]:
    def run(attempt: Attempt) -> None:
        with _dashboard(attempt) as (port, _, look):
            told = _ask(port, request)
            if told.startswith(b"HTTP/1.1 2"):
                raise Harmed(f"it answered {told[:60]!r}")
            look()

    return run


def _upload(torch: str) -> Callable[[Attempt], None]:
    """A specification whose model is Python code that is none of the user's."""

    def run(attempt: Attempt) -> None:
        mark = attempt.folder / "mark"
        (attempt.folder / "photos").mkdir()
        text = torch.replace("MARK", str(mark)).replace("LIBRARY", str(Path(os.__file__).parent))
        spec = f"models: [{{torch: {text}, input: {{size: 8}}}}]\nworkload: {{images: photos}}\n"
        spec += "name: x\nobjectives: {top1: max, latency_mean_ms: min}\n"
        try:
            read_uploaded(spec.encode(), attempt.folder)
        finally:
            if mark.exists():
                raise Harmed("the code ran")
        raise Harmed("it passed for a specification")

    return run
