"""Who may call: Host, Origin, token and cookie; asked with the very bytes, since no client would send some of them."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from http.cookies import Morsel, SimpleCookie
from typing import Any, cast

import pytest
from fastapi import FastAPI, WebSocket
from starlette.types import ASGIApp, Message, Scope

from serve_app.api import make_api
from serve_app.api.guard import COOKIE, LOG_INTERVAL_S, LOGIN_LASTS_S, MAX_LOGIN_BYTES, POLICY_VIOLATION, Key
from serve_app.stores import Readers
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import FakeGateway
from tests.fakes.live import FakeReader
from tests.fakes.stores import FakeFootageStore, FakeMetricsStore

LOCAL = "http://127.0.0.1:8000"
FLEET = "https://dms.example"
TOKEN = "s3cret"
READ, CHANGE, LIVE = "/v1/streams", "/v1/change", "/v1/live"
FORM = (b"Content-Type", b"application/x-www-form-urlencoded")

Header = tuple[bytes, bytes]
BEARER: Header = (b"Authorization", f"Bearer {TOKEN}".encode())


@dataclass(frozen=True, slots=True)
class Answer:
    """What the application sent: of a WebSocket, its close code where it closed without an HTTP answer."""

    status: int | None
    headers: dict[str, str]
    body: bytes
    messages: list[str]
    close_code: int | None

    @property
    def problem(self) -> str:
        """What the problem says."""
        assert self.headers["content-type"] == "application/problem+json"
        told = json.loads(self.body)
        assert told["status"] == self.status and told["title"]
        return str(told["detail"])

    @property
    def cookie(self) -> Morsel[str]:
        """The one that it sets."""
        return SimpleCookie(self.headers["set-cookie"])[COOKIE]


@cache
def api(token: str | None = None, public_url: str = LOCAL) -> FastAPI:
    """The API with a route that changes something and one that opens a WebSocket."""
    readers = Readers(footage=FakeFootageStore(), metrics=cast("Any", FakeMetricsStore()))
    app = make_api(FakeGateway(), readers, FakeReader().live(), api_token=token, public_url=public_url)

    @app.api_route(CHANGE, methods=["POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    async def change() -> str:
        return "changed"

    @app.websocket(LIVE)
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    return app


def ask(
    app: ASGIApp,
    path: str = READ,
    *headers: Header,
    method: str = "GET",
    host: bytes | None = b"127.0.0.1:8000",
    body: Iterable[bytes] = (),
) -> Answer:
    """One request; `host` None sends none."""
    pieces = list(body) or [b""]
    incoming: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    incoming[-1]["more_body"] = False
    return asyncio.run(_answer(app, _scope("http", path, headers, host) | {"method": method}, incoming))


def watch(app: ASGIApp, *headers: Header, host: bytes = b"127.0.0.1:8000", denial: bool = True) -> Answer:
    """Open the WebSocket; `denial`: the server can answer a refusal over HTTP, as uvicorn can."""
    scope = _scope("websocket", LIVE, headers, host)
    scope |= {"subprotocols": [], "extensions": {"websocket.http.response": {}} if denial else {}}
    return asyncio.run(_answer(app, scope, [{"type": "websocket.connect"}]))


def login(app: ASGIApp, token: str = TOKEN, *headers: Header) -> Answer:
    """Say the token as a page's script does."""
    body = [json.dumps({"token": token}).encode()]
    return ask(app, "/login", (b"Content-Type", b"application/json"), *headers, method="POST", body=body)


def cookie(value: str, name: str = COOKIE) -> Header:
    """A header with one cookie."""
    return (b"Cookie", f"{name}={value}".encode())


HOSTS_OF_LOOPBACK = [
    *(b"localhost", b"LocalHost:8000", b"127.0.0.1", b"127.0.0.1:1", b"127.8.9.10:65535"),
    *(b"[::1]", b"[::1]:8000", b"[0:0:0:0:0:0:0:1]:8000"),
]
OTHER_HOSTS = [
    *(b"evil.example", b"evil.example:8000", b"127.0.0.1.evil.example", b"localhost.evil.example", b"evil-localhost"),
    *(b"128.0.0.1", b"0.0.0.0:8000", b"10.0.0.5:8000", b"2130706433", b"127.1", b"[::]", b"[::2]:8000", b"::1"),
    *(b"", b" ", b":8000", b"localhost:80:80", b"localhost:http", b"localhost:-1", b"localhost:999999"),
    *(b"evil.example@localhost", b"localhost@evil.example", b"localhost/evil.example", b"evil.example#localhost"),
    *(b"localhost, evil.example", b"[::1", b"[::1]x", b"[localhost]x:8000", b"localh\xc3\xb6st", b"\xff\xfe", b"\x00"),
    *(b"localhost:\xb2", "\uff4cocalhost".encode(), "\uff11\uff12\uff17.0.0.1".encode()),
]


@pytest.mark.parametrize("host", HOSTS_OF_LOOPBACK)
@pytest.mark.parametrize("public_url", [LOCAL, FLEET])
def test_loopback_is_a_host_of_ours_on_any_port(host: bytes, public_url: str) -> None:
    app = api(public_url=public_url)
    assert ask(app, host=host).status == 200
    assert ask(app, CHANGE, host=host, method="POST").status == 200
    assert watch(app, host=host).messages[0] == "websocket.accept"


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_no_other_host_is(host: bytes) -> None:
    for path in (READ, CHANGE, "/", "/docs", "/login", "/nowhere", "/healthz/", "/footage/x.mp4"):
        for method in ("GET", "POST", "OPTIONS"):
            answer = ask(api(), path, host=host, method=method)
            assert answer.status == 421
            assert "PUBLIC_URL" in answer.problem
    assert watch(api(), host=host).status == 421


def test_a_request_without_a_host_or_with_two_is_refused() -> None:
    assert ask(api(), host=None).status == 421
    assert ask(api(), READ, (b"Host", b"127.0.0.1:8000")).status == 421
    assert ask(api(), READ, (b"Host", b"evil.example")).status == 421


@pytest.mark.parametrize("host", [b"evil.example", b"10.0.0.5:8000", b"\xff", None])
@pytest.mark.parametrize("token", [None, TOKEN])
def test_health_answers_under_every_host(host: bytes | None, token: str | None) -> None:
    """A load balancer asks by address."""
    app = api(token)
    assert ask(app, "/healthz", host=host).status == 200
    assert ask(app, "/healthz", host=host, method="HEAD").status == 200


@pytest.mark.parametrize(
    ("public_url", "own", "others"),
    [
        (
            "https://dms.example",
            [b"dms.example", b"DMS.Example", b"dms.example:443", b"dms.example:"],
            [b"dms.example:80", b"dms.example:8000", b"www.dms.example", b"example", b"dms.example.evil.example"],
        ),
        ("http://dms.example", [b"dms.example", b"dms.example:80"], [b"dms.example:443"]),
        ("https://DMS.example:8443", [b"dms.example:8443"], [b"dms.example", b"dms.example:443"]),
        ("http://fleet_1:8000", [b"fleet_1:8000"], [b"fleet_1", b"fleet-1:8000"]),
        ("http://10.0.0.5:8000", [b"10.0.0.5:8000"], [b"10.0.0.6:8000", b"10.0.0.5"]),
        (
            "http://[2001:DB8::5]:8000",
            [b"[2001:db8::5]:8000", b"[2001:0db8:0:0::5]:8000"],
            [b"[2001:db8::6]:8000", b"2001:db8::5", b"2001:db8::5:8000", b"[2001:db8::5]"],
        ),
    ],
)
def test_the_host_of_the_public_url_is_ours_with_its_port(
    public_url: str, own: list[bytes], others: list[bytes]
) -> None:
    app = api(public_url=public_url)
    assert [ask(app, host=host).status for host in own] == [200] * len(own)
    assert [ask(app, host=host).status for host in others] == [421] * len(others)
    assert [watch(app, host=host).status for host in others] == [421] * len(others)


OWN_ORIGINS = [
    *(b"https://dms.example", b"HTTPS://DMS.EXAMPLE", b"https://dms.example:443"),
    *(b"http://localhost:3000", b"http://127.0.0.1:8000", b"https://127.0.0.1", b"http://[::1]:8000"),
]
OTHER_ORIGINS = [
    *(b"null", b"NULL", b"", b" ", b"https://evil.example", b"https://dms.example.evil.example"),
    *(b"http://dms.example", b"https://dms.example:8443", b"http://dms.example:443", b"dms.example", b"//dms.example"),
    *(b"https://dms.example/", b"https://dms.example, https://evil.example", b"https://evil@dms.example"),
    *(b"file://", b"file://localhost", b"chrome-extension://localhost", b"wss://dms.example", b"https:dms.example"),
    *(b"https://", b"://localhost", b"https://\xe9vil", b"\xff\xff://localhost", b"https://[::1", b"http://0.0.0.0"),
]


@pytest.mark.parametrize("origin", OWN_ORIGINS)
def test_a_page_of_ours_may_change_things_and_watch(origin: bytes) -> None:
    app = api(public_url=FLEET)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert ask(app, CHANGE, (b"Origin", origin), method=method).status == 200
    assert watch(app, (b"Origin", origin)).messages[0] == "websocket.accept"


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_a_page_of_others_may_not(origin: bytes) -> None:
    app = api(TOKEN, public_url=FLEET)
    header = (b"Origin", origin)
    for method in ("POST", "PUT", "PATCH", "DELETE", "post", "TRACE", "CONNECT"):
        answer = ask(app, CHANGE, header, BEARER, method=method)
        assert answer.status == 403
        assert "PUBLIC_URL" in answer.problem
    assert watch(app, header, BEARER).status == 403
    assert login(app, TOKEN, header).status == 403
    assert "set-cookie" not in login(app, TOKEN, header).headers
    assert ask(app, READ, header, BEARER).status == 200, "the browser keeps the answer from it"


def test_of_two_origins_both_must_be_ours() -> None:
    app = api()
    ours, others = (b"Origin", LOCAL.encode()), (b"Origin", b"https://evil.example")
    assert ask(app, CHANGE, ours, ours, method="POST").status == 200
    assert ask(app, CHANGE, ours, others, method="POST").status == 403
    assert ask(app, CHANGE, others, ours, method="POST").status == 403


def test_who_is_no_browser_sends_no_origin() -> None:
    app = api(TOKEN)
    assert ask(app, CHANGE, BEARER, method="POST").status == 200
    assert watch(app, BEARER).messages[0] == "websocket.accept"


@pytest.mark.parametrize(
    ("headers", "host", "status"),
    [
        ((BEARER,), b"evil.example", 421),
        ((BEARER, (b"Origin", b"null")), b"localhost", 403),
        ((), b"localhost", 401),
        (((b"Authorization", b"Bearer wrong"),), b"localhost", 401),
        ((cookie("wrong"),), b"localhost", 401),
    ],
)
def test_a_refused_websocket_is_answered_over_http_or_closed(
    headers: tuple[Header, ...], host: bytes, status: int
) -> None:
    app = api(TOKEN)
    answer = watch(app, *headers, host=host)
    assert answer.status == status and answer.problem
    assert answer.messages == ["websocket.http.response.start", "websocket.http.response.body"]
    closed = watch(app, *headers, host=host, denial=False)
    assert closed.messages == ["websocket.close"] and closed.close_code == POLICY_VIOLATION


OPEN = ["/v1/streams", "/docs", "/openapi.json"]
GUARDED = ["/", f"/v1/streams/{uuid.UUID(int=1)}", "/redoc", "/nowhere", "/footage/x.mp4", *OPEN]
WRONG = [
    b"",
    b"Bearer",
    b"Bearer ",
    b"Bearer wrong",
    b"Bearer s3cret2",
    b"Basic s3cret",
    b"s3cret",
    b"Bearer s3cre\xfc",
]


@pytest.mark.parametrize("path", GUARDED)
def test_without_the_token_nobody_gets_in(path: str) -> None:
    app = api(TOKEN)
    for answer in (ask(app, path), *(ask(app, path, (b"Authorization", said)) for said in WRONG)):
        assert answer.status == 401 and answer.problem
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", OPEN)
@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer"])  # RFC 9110, 11.1: a scheme has no case
def test_with_the_token_everything_is_open(path: str, scheme: bytes) -> None:
    assert ask(api(TOKEN), path, (b"Authorization", scheme + b" s3cret")).status == 200


@pytest.mark.parametrize(
    "path", ["/healthz/../v1/streams", "/healthz/%2e%2e/v1/streams", "/healthz/x", "/HEALTHZ", "/login/"]
)
def test_no_way_around_the_token(path: str) -> None:
    assert ask(api(TOKEN), path).status == 401


def test_without_a_token_set_nobody_is_asked_and_a_login_gives_nothing() -> None:
    app = api()
    assert [ask(app, path).status for path in OPEN] == [200, 200, 200]
    answer = ask(app, "/login", method="POST")
    assert answer.status == 204 and "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ([BEARER], b"", 204),
        ([], b'{"token": "s3cret"}', 204),
        ([(b"content-type", b"Application/JSON; charset=utf-8")], b'{"token": "s3cret", "more": 1}', 204),
        ([FORM], b"token=s3cret", 303),
        ([FORM], b"x=1&token=s3cr%65t", 303),
    ],
)
def test_a_login_is_a_cookie_that_opens_pages_and_websockets(headers: list[Header], body: bytes, status: int) -> None:
    app = api(TOKEN)
    answer = ask(app, "/login", *headers, method="POST", body=[body[:5], body[5:]])
    assert answer.status == status
    assert answer.headers.get("location") == ("/" if status == 303 else None)
    header = cookie(answer.cookie.value)
    assert [ask(app, path, header).status for path in OPEN] == [200] * len(OPEN)
    assert ask(app, CHANGE, header, method="POST").status == 200
    assert watch(app, header).messages[0] == "websocket.accept"


@pytest.mark.parametrize(("public_url", "secure"), [(LOCAL, ""), (FLEET, True)])
def test_the_cookie_is_for_the_browser_alone(public_url: str, secure: object) -> None:
    morsel = login(api(TOKEN, public_url)).cookie
    assert morsel["httponly"] is True
    assert morsel["samesite"].lower() == "strict"
    assert morsel["path"] == "/"
    assert morsel["domain"] == ""
    assert morsel["max-age"] == str(LOGIN_LASTS_S)
    assert morsel["secure"] == secure
    assert TOKEN not in morsel.OutputString()


def test_the_cookie_is_that_of_every_replica_of_this_token_alone() -> None:
    value = login(api(TOKEN)).cookie.value
    assert Key(TOKEN).made(value.encode())
    assert ask(api("other"), READ, cookie(value)).status == 401


@pytest.mark.parametrize(
    "damage", ["", "wrong", TOKEN, ".", "9.", "{0}.x", "9{0}.{1}", "{0}.{1}0", "{1}.{0}", "{0}{1}", "\xfc"]
)
def test_a_cookie_with_another_value_opens_nothing(damage: str) -> None:
    app = api(TOKEN)
    value = damage.format(*login(app).cookie.value.split("."))
    assert ask(app, READ, cookie(value)).status == 401
    assert ask(app, READ, (b"Cookie", b"dms_login=" + value.encode("latin-1"))).status == 401
    assert watch(app, cookie(value)).status == 401


def test_a_cookie_ends_after_its_time() -> None:
    wall = FakeClock()
    key = Key(TOKEN, wall=wall)
    value = key.cookie().encode()
    assert key.made(value)
    wall.advance(LOGIN_LASTS_S - 1)
    assert key.made(value)
    wall.advance(1)
    assert not key.made(value)


def test_the_right_cookie_is_found_among_others() -> None:
    app = api(TOKEN)
    value = login(app).cookie.value
    right, wrong = cookie(value), cookie("1.wrong")
    other, junk = cookie("x", "other"), (b"Cookie", b";;=; ;\xff=\xfe; dms_login; DMS_LOGIN=x")
    for headers in ([right, other], [other, right], [wrong, right], [right, wrong], [junk, right]):
        assert ask(app, READ, *headers).status == 200
    line = b"; ".join(header[1] for header in (other, wrong, right))
    assert ask(app, READ, (b"Cookie", line)).status == 200
    assert ask(app, READ, (b"Cookie", line.replace(b"; ", b";"))).status == 200
    for name in ("Dms_login", "xdms_login", "dms_login2"):
        assert ask(app, READ, cookie(value, name)).status == 401
    assert ask(app, READ, (b"Authorization", b"Bearer wrong"), right).status == 200


@pytest.mark.parametrize("token", ["", "wrong", "s3cret ", "S3CRET", "s3cre\xfc", "x" * 3000])
def test_a_wrong_token_is_no_login(token: str) -> None:
    app = api(TOKEN)
    for answer in (login(app, token), ask(app, "/login", (b"Authorization", b"Bearer x"), method="POST")):
        assert answer.status == 401 and answer.problem
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "set-cookie" not in answer.headers


JUNK = [b"", b"{", b"[]", b'"s3cret"', b"null", b'{"token": 5}', b'{"token": null}', b'{"token": "\\ud800"}', b"\xff"]


@pytest.mark.parametrize("body", [*JUNK, b"[" * 4000])
@pytest.mark.parametrize("headers", [[], [FORM]])
def test_a_login_with_anything_else_says_what_would_be_right(headers: list[Header], body: bytes) -> None:
    answer = ask(api(TOKEN), "/login", *headers, method="POST", body=[body])
    assert answer.status == 422
    assert '{"token": "..."}' in answer.problem


def test_a_login_reads_no_more_than_a_token_needs() -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * MAX_LOGIN_BYTES

    assert ask(api(TOKEN), "/login", method="POST", body=endless()).status == 413


def test_a_logout_has_the_browser_forget() -> None:
    answer = ask(api(TOKEN), "/login", method="DELETE")
    assert answer.status == 204
    assert (answer.cookie.value, answer.cookie["max-age"], answer.cookie["path"]) == ("", "0", "/")


def test_who_guesses_is_in_the_log_once_in_a_while_and_what_was_guessed_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    key = Key(TOKEN, monotonic=clock)
    scope: Scope = {"client": ("192.0.2.7", 4711)}
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            for guess in (b"guess1", b"guess2", b"\xff"):
                assert not key.fits(guess, scope)
        assert key.fits(TOKEN.encode(), scope)
        assert [record.getMessage() for record in caplog.records] == [
            "a wrong API_TOKEN from 192.0.2.7; said once in 10 s"
        ]
        clock.advance(LOG_INTERVAL_S)
        assert not key.fits(b"guess", {})
    assert len(caplog.records) == 2
    assert "guess" not in caplog.text and TOKEN not in caplog.text


def _scope(kind: str, path: str, headers: tuple[Header, ...], host: bytes | None) -> dict[str, Any]:
    named = [(name.lower(), value) for name, value in (*headers, *([] if host is None else [(b"host", host)]))]
    return {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws" if kind == "websocket" else "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": named,
        "client": ("192.0.2.7", 4711),
        "server": ("127.0.0.1", 8000),
    }


async def _answer(app: ASGIApp, scope: Scope, incoming: list[Message]) -> Answer:
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0) if incoming else {"type": f"{scope['type']}.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = next((message for message in sent if message["type"].endswith("response.start")), None)
    return Answer(
        status=start["status"] if start else None,
        headers={name.decode(): value.decode("latin-1") for name, value in start["headers"]} if start else {},
        body=b"".join(message.get("body", b"") for message in sent),
        messages=[message["type"] for message in sent],
        close_code=next((message["code"] for message in sent if message["type"] == "websocket.close"), None),
    )
