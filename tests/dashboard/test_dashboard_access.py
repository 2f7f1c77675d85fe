"""Who is let into the dashboard: asked of one that was really started, by HTTP and websocket."""

import http.client
import os
import socket
import subprocess
from contextlib import closing
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from trimtab.dashboard.access import Access, Rules
from trimtab.dashboard.server import access_rules

TOKEN = "a-token-that-nobody-guesses"
_KEY = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
_UPGRADE = f"Upgrade: websocket\r\nConnection: Upgrade\r\n{_KEY}"


class Answer(SimpleNamespace):
    """Of a small application behind the rules: `status`, `headers`, `text`."""


def ask(rules, path="/", query="", kind="http", **headers):
    """A request as the server hands it over; `host` is this machine's unless it is given."""
    named = {"host": "localhost:8501", **headers}
    scope = {
        "type": kind,
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [(key.encode(), value.encode("latin-1")) for key, value in named.items()],
    }
    sent = []

    async def send(message):
        sent.append(message)

    async def inside(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})

    with pytest.raises(StopIteration):  # nothing waits; a browser's test may have left a loop
        Access(inside, rules)(scope, None, send).send(None)
    if kind == "websocket" and sent[0]["type"] == "websocket.close":
        return Answer(status=403)
    found = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return Answer(status=sent[0]["status"], headers=found, text=sent[1]["body"].decode())


@pytest.fixture
def rules():
    return access_rules("127.0.0.1", 8501, login=False, token=TOKEN)


COOKIE = f"trimtab-dashboard-8501={TOKEN}"


def test_the_token_is_changed_for_a_cookie(rules):
    assert ask(rules, "/front").status == 403
    assert ask(rules, "/front", f"token={TOKEN}x").status == 403
    assert ask(rules, "/front", f"token={TOKEN}", kind="websocket").status == 403
    entered = ask(rules, "/front", f"job=a+b&token={TOKEN}")
    assert (entered.status, entered.headers["location"]) == (303, "/front?job=a+b")
    cookie, *settings = entered.headers["set-cookie"].split("; ")
    assert cookie == COOKIE
    assert {"HttpOnly", "SameSite=Lax"} <= set(settings)
    seen = ask(rules, "/front", cookie=f"other=1; {cookie}")
    assert seen.text == "inside"
    assert seen.headers["content-security-policy"] == "frame-ancestors 'self'"
    assert ask(rules, "/", kind="websocket", cookie=cookie).status == 200
    assert ask(rules, "/_stcore/health").text == "inside"


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example", "/a\r\nSet-Cookie: x=y"])
def test_an_address_with_the_token_leads_nowhere_else(rules, path):
    location = ask(rules, path, f"token={TOKEN}").headers["location"]
    assert location.startswith("/")
    assert location[1:2] not in ("/", "\\")
    assert "\r" not in location


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8501", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("localhost@evil.example", "192.0.2.7", "0.0.0.0", "local host", "", "[::2]", "[::1"),
    ],
)
def test_other_names_are_refused_whoever_asks(rules, host):
    answer = ask(rules, host=host, cookie=COOKIE)
    assert answer.status == 403
    assert "name in the address" in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1:1", "[::1]:8501"])
def test_names_of_this_machine_are_not(rules, host):
    assert ask(rules, host=host, cookie=COOKIE).status == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        *(("http://localhost:8501", 200), ("http://LOCALHOST:8501", 200)),
        *(("http://localhost:3000", 403), ("http://localhost", 403), ("null", 403), ("", 403)),
        *(("http://evil.example", 403), ("http://[", 403), ("http://127.0.0.1:8501", 403)),
    ],
)
def test_only_its_own_pages_may_ask(rules, origin, status):
    for kind in ("http", "websocket"):
        assert ask(rules, kind=kind, origin=origin, cookie=COOKIE).status == status


def test_on_other_addresses_somebody_else_asks_who_is_there():
    behind_login = access_rules("0.0.0.0", 80, login=True, token=None)
    proxied = {"host": "inside:8501", "origin": "https://any.example"}
    assert ask(behind_login, **proxied).status == 200
    open_to_all = access_rules("0.0.0.0", 80, login=False, token=None)
    assert ask(open_to_all, host="192.0.2.7").status == 200
    assert ask(open_to_all, host=socket.gethostname().lower()).status == 200
    assert ask(open_to_all, host="rebound.example").status == 403


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        *(("dash.example.org", "https://dash.example.org", 200), ("dash.example.org", None, 200)),
        *(
            ("dash.example.org:8443", None, 200),
            ("localhost:8501", "https://dash.example.org", 200),
        ),
        *(
            ("localhost:8501", "http://localhost:8501", 200),
            ("b.example:81", "http://b.example:81", 200),
        ),
        *(("dash.example.org", "https://evil.example", 403), ("evil.example", None, 403)),
        *(("dash.example.org", "http://localhost:8501", 403), ("a.dash.example.org", None, 403)),
        *(("localhost:8501", "https://dash.example.org:1", 403), ("localhost:8501", "null", 403)),
        ("localhost:8501", "https://b.example", 403),
    ],
)
def test_behind_a_proxy_its_names_are_ours_too(host, origin, status):
    proxies = ("dash.example.org", "b.example:81")
    rules = access_rules("127.0.0.1", 8501, login=False, token=TOKEN, proxies=proxies)
    told = {"host": host} | ({"origin": origin} if origin else {})
    for kind in ("http", "websocket"):
        assert ask(rules, kind=kind, cookie=COOKIE, **told).status == status
    assert ask(rules, **told).status == 403, "a name is no token"


def test_a_cookie_that_is_none_is_no_error(rules):
    for cookie in ("trimtab-dashboard-8501", 'a="\\', "\x80", f"trimtab-dashboard-9={TOKEN}"):
        assert ask(rules, cookie=cookie).status == 403


def test_the_comparison_holds_for_any_text():
    assert Rules(TOKEN).admits(TOKEN)
    assert not any(Rules(TOKEN).admits(shown) for shown in (None, "", "\xe4", TOKEN[:-1]))
    assert Rules(None).admits(None)


@pytest.fixture(scope="module")
def started(tools, tmp_path_factory):
    folder = tmp_path_factory.mktemp("access")
    with tools.served(folder, folder / "store" / "trimtab.db") as address:
        yield address


@pytest.fixture
def cookie(started):
    """What a browser has once it was let in."""
    place = urlsplit(started.entry)
    with closing(http.client.HTTPConnection(place.hostname, place.port, timeout=30)) as asking:
        asking.request("GET", f"/?{place.query}")
        return asking.getresponse().headers["set-cookie"].partition(";")[0]


def status(started, request, *headers):
    """That of the answer to a raw request."""
    place = urlsplit(started)
    lines = "".join(f"{line}\r\n" for line in headers)
    with socket.create_connection((place.hostname, place.port), timeout=60) as wire:
        wire.sendall(f"{request} HTTP/1.1\r\n{lines}\r\n".encode())
        return int(wire.recv(4096).split()[1])


@pytest.mark.slow
def test_a_stranger_gets_nothing_of_a_real_one(started, cookie):
    own = f"Host: {urlsplit(started).netloc}"
    for request, allowed in {
        "GET /": 200,
        "GET /start": 200,
        "GET /_stcore/host-config": 200,
        f"GET /_stcore/stream{{}}\r\n{_UPGRADE}": 101,
    }.items():
        path, _, more = request.partition("{}\r\n")
        lines = more.strip().split("\r\n") if more else []
        asked = [
            status(started, path, own, *lines),
            status(started, path, own, f"Cookie: {cookie[:-2]}", *lines),
            status(started, path, "Host: evil.example", f"Cookie: {cookie}", *lines),
            status(started, path, own, "Origin: http://evil.example", f"Cookie: {cookie}", *lines),
            status(started, path, own, "Origin: http://localhost:1", f"Cookie: {cookie}", *lines),
        ]
        assert asked == [403] * 5, path
        assert status(started, path, own, f"Cookie: {cookie}", *lines) == allowed, path


@pytest.mark.slow
def test_uploads_of_strangers_are_refused(started, cookie):
    own, put = f"Host: {urlsplit(started).netloc}", "PUT /_stcore/upload_file/a/b"
    none = "Content-Length: 0"
    assert status(started, put, own, none) == 403
    assert status(started, put, "Host: evil.example", f"Cookie: {cookie}", none) == 403
    assert status(started, put, own, "Origin: null", f"Cookie: {cookie}", none) == 403


@pytest.mark.slow
def test_arguments_tell_no_secret(started):
    """Every account of the machine can read them."""
    token = started.entry.partition("token=")[2]
    told = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert "trimtab.dashboard.server" in told.stdout
    assert token not in told.stdout
    assert f"token={token}" not in " ".join(os.environ.values())
