"""A reverse proxy, as small as one can be: HTTP/1.1 and websockets, to a port of this machine."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer

from processes import free_port


class _Proxy(ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

    def __init__(self, port: int, target: int, host: str | None) -> None:
        self.target, self.host = target, host
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseRequestHandler):
    server: _Proxy

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (block := self.request.recv(2**16)):
                return
            head += block
        if self.server.host is not None:
            head = re.sub(rb"(?im)^host:[^\r]*", f"Host: {self.server.host}".encode(), head)
        if b"upgrade: websocket" not in head.lower():  # or the next request would go unchanged
            head = re.sub(rb"(?im)^connection:[^\r]*\r\n", b"", head)
            head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        with socket.create_connection(("127.0.0.1", self.server.target)) as inner:
            inner.sendall(head)
            back = threading.Thread(target=_pass, args=(inner, self.request), daemon=True)
            back.start()
            _pass(self.request, inner)
            back.join()


def _pass(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(2**16):
            target.sendall(block)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def proxied(target: int, host: str | None = None) -> Iterator[int]:
    """The port of a proxy in front of `target`. It hands the Host of requests on, or says `host`
    instead, as nginx and others do unless they are told otherwise."""
    port = free_port()
    with _Proxy(port, target, host) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield port
        server.shutdown()
