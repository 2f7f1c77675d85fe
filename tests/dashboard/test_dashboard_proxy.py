"""The dashboard behind a reverse proxy: under the names that were allowed, and no others."""

import socket

import pytest
from processes import free_port
from reverse_proxy import proxied

from trimtab.planner.cli import main

_KEY = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
_UPGRADE = f"Upgrade: websocket\r\nConnection: Upgrade\r\n{_KEY}"
#: Names below localhost lead to this machine in every browser.
NAME = "dash.localhost"


def status(port, what, *lines):
    """That of the answer to a raw request."""
    head = "".join(f"{line}\r\n" for line in lines)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        wire.sendall(f"GET {what} HTTP/1.1\r\n{head}\r\n".encode())
        return int(wire.recv(4096).split()[1])


@pytest.mark.parametrize("host", ["*", "*.example.org", "a b", "http://a", "a/b", "", "a:b", "-a"])
def test_what_is_no_host_is_refused(host, capsys):
    assert main(["dashboard", "--allowed-host", host]) == 2
    assert "must be a name as the browser shows it" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False], ids=["its host", "another host"])
def test_it_is_shown_under_the_name_of_the_proxy(tools, tmp_path, page, kept):
    """Whether the proxy hands the Host on or not."""
    port = free_port()
    with proxied(port, None if kept else f"127.0.0.1:{port}") as outside:
        name = f"{NAME}:{outside}"
        options = ("--allowed-host", name.upper())
        with tools.served(tmp_path, tmp_path / "s.db", *options, port=port) as address:
            token = address.entry.partition("/?")[2]
            cookie = f"Cookie: trimtab-dashboard-{port}={token.partition('=')[2]}"
            own, page_of = f"Host: {name}", f"Origin: https://{name}"
            for what, more, welcome in (("/", [], 200), ("/_stcore/stream", [_UPGRADE[:-2]], 101)):
                for lines, expected in (
                    ([own, page_of], 403),
                    ([own, cookie], welcome),
                    ([own, page_of, cookie], welcome),
                    ([own, "Origin: https://evil.localhost", cookie], 403),
                    ([own, f"Origin: https://{NAME}:1", cookie], 403),
                ):
                    assert status(outside, what, *lines, *more) == expected, (what, lines)
                other = status(port, what, "Host: evil.localhost", cookie, *more)
                assert other == 403, what
            page.goto(f"http://{name}/?{token}")
            page.get_by_text("There is no store yet").wait_for()
    assert "external IP" not in (tmp_path / "dashboard.log").read_text(), "nobody else is asked"
