"""Who may call: the right `Host`, the right `Origin`, the token or the cookie made of it (docs/adr/0017)."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import logging
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from models.once_per import OncePer
from serve_app.api.console import login_page
from serve_app.api.problems import problem, problems
from serve_app.settings.values import is_loopback

_log = logging.getLogger(__name__)

HEALTH_ROUTE, LOGIN_ROUTE = "/healthz", "/login"
COOKIE = "dms_login"
LOGIN_LASTS_S = 7 * 24 * 3600
MAX_LOGIN_BYTES = 4096
LOG_INTERVAL_S = 10.0
READING = {"GET", "HEAD", "OPTIONS"}
POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1

_GUARDED = {"http", "websocket"}
_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\s\[\]:/?#@\\]+)(?::([0-9]{0,5}))?")
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


class SiteGuard:
    """Lets in only who calls the service by its own name, and only pages of its own to change or watch anything.

    Args:
        app: What it guards.
        public_url: The service's own name; loopback is as good.
    """

    def __init__(self, app: ASGIApp, *, public_url: str) -> None:
        self._app = app
        url = urlsplit(public_url)
        self._scheme = url.scheme
        self._own = (_plain(url.hostname or ""), url.port or _PORTS[url.scheme])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] in _GUARDED:
            hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
            if scope["path"] != HEALTH_ROUTE and not (len(hosts) == 1 and self._is_own_host(hosts[0])):
                refusal = problem(HTTPStatus.MISDIRECTED_REQUEST, "`Host` should be that of PUBLIC_URL, or loopback")
                await _refuse(refusal, scope, receive, send)
                return
            reads = scope["type"] == "http" and scope["method"] in READING
            if not reads and not all(map(self._is_own_origin, origins)):
                refusal = problem(HTTPStatus.FORBIDDEN, "`Origin` should be that of PUBLIC_URL, or loopback")
                await _refuse(refusal, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_own_host(self, host: bytes) -> bool:
        at = _authority(host, _PORTS[self._scheme])
        return at is not None and (at == self._own or is_loopback(at[0]))

    def _is_own_origin(self, origin: bytes) -> bool:
        scheme, _, rest = origin.lower().partition(b"://")
        port = _PORTS.get(scheme.decode("latin-1"))  # none for `null`, a file, an extension of the browser
        at = _authority(rest, port) if port else None
        return at is not None and ((scheme.decode(), at) == (self._scheme, self._own) or is_loopback(at[0]))


class Key:
    """The token, and cookies made of it: every replica knows them, and nobody learns the token from one.

    Args:
        token: API_TOKEN.
        wall: Seconds since 1970 UTC.
        monotonic: Seconds.
    """

    def __init__(
        self, token: str, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._token = token.encode()
        self._wall = wall
        self._monotonic = monotonic
        self._logged = OncePer(LOG_INTERVAL_S)

    def fits(self, said: bytes, scope: Scope) -> bool:
        """Whether that is the token; if not, the log says who tried, once in a while."""
        fits = hmac.compare_digest(said, self._token)
        if not fits and self._logged.due("wrong", self._monotonic()):
            address = (scope.get("client") or ["?"])[0]
            _log.warning("a wrong API_TOKEN from %s; said once in %.0f s", address, LOG_INTERVAL_S)
        return fits

    def cookie(self) -> str:
        """The value of a new cookie."""
        expires = str(int(self._wall()) + LOGIN_LASTS_S)
        return f"{expires}.{self._seal(expires.encode())}"

    def made(self, cookie: bytes) -> bool:
        """Whether that is the value of a cookie of ours whose time is not over."""
        expires, _, seal = cookie.partition(b".")
        # The seal first: only we sealed a number, anybody else may send a million digits.
        return hmac.compare_digest(seal, self._seal(expires).encode()) and int(expires) > self._wall()

    def _seal(self, expires: bytes) -> str:
        return hmac.new(self._token, b"login until " + expires, hashlib.sha256).hexdigest()


class TokenGuard:
    """Lets nobody in without `Authorization: Bearer <token>` or the cookie, but to `/healthz` and `/login`.

    Args:
        app: What it guards.
        key: The token.
    """

    def __init__(self, app: ASGIApp, *, key: Key) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        guarded = scope["type"] in _GUARDED and scope["path"] not in {HEALTH_ROUTE, LOGIN_ROUTE}
        if guarded and not self._knows(scope):
            refusal: Response = problem(
                HTTPStatus.UNAUTHORIZED, "this wants `Authorization: Bearer <API_TOKEN>` or a login"
            )
            if scope["type"] == "http" and any(b"text/html" in value for value in _values(scope, b"accept")):
                refusal = login_page()  # a person's browser
            refusal.headers.update(_CHALLENGE)
            await _refuse(refusal, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        said = _bearer(scope)
        return any(map(self._key.made, _cookies(scope))) or (said is not None and self._key.fits(said, scope))


def login_routes(key: Key | None, *, public_url: str) -> APIRouter:
    """`/login`: the token for a cookie, which a browser then sends for pages, video and WebSocket.

    Args:
        key: The token; None where there is none, then there is nothing to exchange either.
        public_url: With https, the cookie goes over https only.
    """
    router = APIRouter()
    secure = public_url.startswith("https:")

    refusals = problems(HTTPStatus.UNAUTHORIZED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)

    @router.post(
        LOGIN_ROUTE,
        status_code=HTTPStatus.NO_CONTENT,
        responses={
            HTTPStatus.SEE_OTHER: {"description": "To the first page, after a form"},
            **(refusals if key else {}),
        },
        openapi_extra={"requestBody": _LOGIN_BODY},
    )
    async def login(request: Request) -> Response:
        """Exchange the token for a cookie; after a form, the browser goes to the first page."""
        is_form = request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded")
        answer: Response = (
            RedirectResponse("/", HTTPStatus.SEE_OTHER) if is_form else Response(status_code=HTTPStatus.NO_CONTENT)
        )
        if key is None:
            return answer
        said = _bearer(request.scope)
        if said is None:
            said = _token_in(await _body(request), is_form=is_form)
        if not key.fits(said, request.scope):
            if is_form:
                return login_page("That is not the token.")
            raise HTTPException(HTTPStatus.UNAUTHORIZED, "that is not the token", headers=_CHALLENGE)
        answer.set_cookie(COOKIE, key.cookie(), LOGIN_LASTS_S, secure=secure, httponly=True, samesite="strict")
        return answer

    @router.delete(LOGIN_ROUTE, status_code=HTTPStatus.NO_CONTENT)
    async def logout() -> Response:
        """Have the browser forget its cookie."""
        answer = Response(status_code=HTTPStatus.NO_CONTENT)
        answer.delete_cookie(COOKIE, secure=secure, httponly=True, samesite="strict")
        return answer

    return router


_TOKEN_SCHEMA = {"schema": {"type": "object", "properties": {"token": {"type": "string"}}, "required": ["token"]}}
_LOGIN_BODY = {"content": {"application/json": _TOKEN_SCHEMA, "application/x-www-form-urlencoded": _TOKEN_SCHEMA}}


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():  # anybody may send here
        body += piece
        if len(body) > MAX_LOGIN_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "a token is shorter")
    return body


def _token_in(body: bytes, *, is_form: bool) -> bytes:
    try:
        token: str = parse_qs(body.decode())["token"][0] if is_form else json.loads(body)["token"]
        return token.encode()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # whatever else people send
        right = 'should be JSON {"token": "..."}, a form with the field `token`, or `Authorization: Bearer`'
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, right) from None


async def _refuse(refusal: Response, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket" and "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})  # to a client, that is a 403
        return
    await refusal(scope, receive, send)


def _bearer(scope: Scope) -> bytes | None:
    """What the caller says is the token."""
    for value in _values(scope, b"authorization"):
        scheme, _, said = value.partition(b" ")
        if scheme.lower() == b"bearer":
            return said
    return None


def _cookies(scope: Scope) -> list[bytes]:
    """Every cookie with our name: one of another port of this host may stand before it."""
    pairs = [pair.strip().partition(b"=") for line in _values(scope, b"cookie") for pair in line.split(b";")]
    return [value for name, _, value in pairs if name == COOKIE.encode()]


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key.lower() == name]


def _authority(text: bytes, default_port: int) -> tuple[str, int] | None:
    """Host and port of `host[:port]`; None when it is neither."""
    match = _AUTHORITY.fullmatch(text.decode("latin-1").lower())
    return (_plain(match[1].strip("[]")), int(match[2] or default_port)) if match else None


def _plain(host: str) -> str:
    """One way to write an address: IPv6 has many."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host
