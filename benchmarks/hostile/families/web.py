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
    Mistaken,
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
_WHO, _NAME, _PAGE = b"wants to know who asks", b"answer to the name", b"its own pages alone"
#: Who asks, and what the answer says.
_STRANGERS = {
    "no-token": (_OWN, _WHO),
    "wrong-token": (_OWN + "Cookie: trimtab-dashboard-{port}=x{token}\r\n", _WHO),
    "cut-token": (_OWN + "Cookie: trimtab-dashboard-{port}=\r\n", _WHO),
    "other-port": (_OWN + "Cookie: trimtab-dashboard-1={token}\r\n", _WHO),
    "rebound": (
        "Host: evil.example:{port}\r\nOrigin: http://evil.example:{port}\r\n" + _COOKIE,
        _NAME,
    ),
    "other-origin": (_OWN + "Origin: http://evil.example\r\n" + _COOKIE, _PAGE),
    "neighbour": (_OWN + "Origin: http://127.0.0.1:1\r\n" + _COOKIE, _PAGE),
    "null-origin": (_OWN + "Origin: null\r\n" + _COOKIE, _PAGE),
    "two-hosts": (_OWN + "Host: evil.example\r\n" + _COOKIE, _NAME),
    "no-host": (_COOKIE, _NAME),
    "forwarded": (
        "Host: evil.example\r\nX-Forwarded-Host: 127.0.0.1:{port}\r\n"
        "Forwarded: for=127.0.0.1;host=127.0.0.1\r\n" + _COOKIE,
        _NAME,
    ),
    "name-with-user": ("Host: 127.0.0.1:{port}@evil.example\r\n" + _COOKIE, _NAME),
}
_HOST = b"Host: localhost\r\n"
_GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
#: Requests that are none, or odd ones; with the token too where they have a Host.
_RAW: Mapping[str, bytes] = {
    "no-http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "long-header": _GET + b"X: " + b"a" * 2_000_000,
    "many-headers": _GET + b"X: a\r\n" * 50_000,
    "long-path": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "length-beyond": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n",
    "length-below": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "odd-cookie": _GET + b'Cookie: a="\\\xff\x80;;=\r\n\r\n',
    "odd-host": b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "odd-token": b"GET /?token=%ff%00%d8%00&token[]=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "up-the-folders": b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "up-encoded": b"GET /%2e%2e/%2e%2e%2f..%2fetc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "up-the-media": b"GET /media/..%2f..%2f../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "up-the-static": b"GET /app/static/..%5c../..//etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a-component": b"GET /component/os/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another-server": b"GET http://evil.example/etc HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "smuggled": b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Length: 4\r\n\r\n0\r\n\r\nGET /start HTTP/1.1\r\n\r\n",
}
#: What none of them may bring to light.
_SECRET = b"root:"
_OF_PYTHON, _NOT_THERE = "belongs to Python itself", "there is no module"
#: Models of specifications that are uploaded, and why they are refused.
_UPLOADS = {
    "os-system": ("{entry: 'os:system', arguments: {command: 'touch MARK'}}", _NOT_THERE),
    "library-folder": (
        "{entry: 'os:system', arguments: {command: 'touch MARK'}, folder: LIBRARY}",
        _OF_PYTHON,
    ),
    "subprocess": ("{entry: 'subprocess:run', arguments: {args: [touch, MARK]}}", _NOT_THERE),
    "builtin": ("{entry: 'builtins:exec', arguments: {source: '1'}}", _NOT_THERE),
    "runpy": ("{entry: 'runpy:run_path', arguments: {path_name: /tmp/x.py}}", _NOT_THERE),
    "up-the-folders": ("{entry: 'a:b', folder: ../../../../usr/lib}", _NOT_THERE),
    "dotted": ("{entry: '..net:Net'}", "entry"),
    "a-link-out": ("{entry: 'linked:system'}", _OF_PYTHON),
    "another-python": ("{entry: 'os:system', folder: other/lib/python3.9}", _OF_PYTHON),
    "its-packages": ("{entry: 'a:b', folder: other/site-packages/a}", _OF_PYTHON),
}


def cases(seed: int) -> Iterator[Case]:
    """Every stranger at every place, requests that are none, and uploads."""
    for who in _STRANGERS:
        yield Case(who, _stranger(who))
    for name, request in _RAW.items():
        yield Case(f"raw-{name}", _raw(request))
    for name, (torch, refused) in _UPLOADS.items():
        yield Case(f"upload-{name}", _upload(torch), refused)


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
    told = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as wire:
        try:
            wire.sendall(request)
            while len(told) < 4096 and not _END.search(told) and (more := wire.recv(4096)):
                told += more
        except (ConnectionError, TimeoutError):
            return told
    return told


#: Of an answer that is whole: refusals are short, and end so; 101 has no body.
_END = re.compile(rb"\.\n$|^HTTP/1.1 101[^\n]*(\r\n[^\r]+)+\r\n\r\n|</html>|^HTTP/1.1 200")


def _status(told: bytes) -> int:
    found = re.match(rb"HTTP/1.1 (\d+)", told)
    return int(found[1]) if found else 0


def _stranger(who: str) -> Callable[[Attempt], None]:
    """At every place; whoever has the token gets in."""

    def run(attempt: Attempt) -> None:
        with _dashboard(attempt) as (port, token, look):
            for name, (what, more) in _PLACES.items():
                lines, said = _STRANGERS[who]
                lines = lines.format(port=port, token=token)
                told = _ask(port, f"{what} HTTP/1.1\r\n{lines}{more}\r\nabc".encode())
                if _status(told) not in (400, 403):
                    raise Harmed(f"{name} answered {told[:60]!r}")
                if _status(told) == 403 and more != _WEBSOCKET and said not in told:
                    raise Mistaken(f"{name} answered {told[-200:]!r}")
            own = (_OWN + _COOKIE).format(port=port, token=token)
            if _status(_ask(port, f"GET / HTTP/1.1\r\n{own}\r\n".encode())) != 200:
                raise Ended("its owner is not let in")
            look()

    return run


def _raw(request: bytes) -> Callable[[Attempt], None]:
    def run(attempt: Attempt) -> None:
        with _dashboard(attempt) as (port, token, look):
            if _ask(port, request).startswith(b"HTTP/1.1 2"):
                raise Harmed("without the token it was answered")
            cookie = _COOKIE.format(port=port, token=token).encode()
            told = _ask(port, request.replace(_HOST, _HOST + cookie, 1))
            if _SECRET in told or b" 5" in told[8:10]:
                raise Harmed(f"with the token it answered {told[:200]!r}")
            look()

    return run


def _upload(torch: str) -> Callable[[Attempt], None]:
    """A specification whose model is Python code that is none of the user's."""

    def run(attempt: Attempt) -> None:
        mark = attempt.folder / "mark"
        (attempt.folder / "photos").mkdir()
        (attempt.folder / "linked.py").symlink_to(os.__file__)
        library = attempt.folder / "other" / "lib" / "python3.9"
        for place in (library / "importlib", library.parent.parent / "site-packages" / "a"):
            place.mkdir(parents=True)
        (library / "os.py").touch()
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
