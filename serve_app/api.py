"""The HTTP side: health, open streams, footage. Frames flow without it."""

from __future__ import annotations

import asyncio
import datetime as dt
import hmac
import re
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Header, HTTPException, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from actors.records import video_uuid
from serve_app.flow import StreamInfo
from serve_app.gateway import FlowHealth
from serve_app.stores import Readers

PING_TIMEOUT_S = 3.0
OPEN_ROUTES = frozenset({"/healthz", "/login"})
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_OBJECT = re.compile(r"\d{4}-\d\d-\d\d/[0-9a-f-]{36}-(?P<trip>[0-9a-f-]{36})(?:-(?P<part>\d{1,4}))?\.mp4")


class GatewayView(Protocol):
    """The Gateway, as the API uses it."""

    async def health(self) -> FlowHealth:
        """Whether frames can be taken."""

    async def streams(self) -> list[StreamInfo]:
        """The open streams."""

    async def stream(self, vehicle: uuid.UUID) -> StreamInfo | None:
        """One of them."""


class StreamOut(BaseModel):
    """An open stream."""

    vehicle: uuid.UUID
    trip: uuid.UUID
    opened_at: dt.datetime
    frames: int = Field(description="Accepted and relayed so far")
    flagged: int = Field(description="Of those, flagged so far")
    dropped: dict[str, int] = Field(description="Frames given up, by reason")
    backlog: int = Field(description="Frames waiting for detection")
    driver_state: str = Field(description="What the last frame showed", examples=["attentive", "eyes closed"])
    node: str | None = Field(description="Ray's id of the actor's node; null while it starts")
    pid: int | None = Field(description="The actor's process; null while it starts")


class HealthOut(BaseModel):
    """Each dependency's state; `ok` or what is wrong."""

    status: str = Field(examples=["ok", "unavailable"])
    broker: str
    detector_replicas: int
    object_model: str = Field(description="`none` without one")
    face_model: str
    database: str
    storage: str
    streams: int
    refused: dict[str, int] = Field(description="Everything refused or dropped since the start, by reason")


def make_api(gateway: GatewayView, readers: Readers, *, api_token: str | None) -> FastAPI:
    """The FastAPI application.

    Args:
        gateway: The Gateway.
        readers: Database and storage.
        api_token: Asked of every route but those in `OPEN_ROUTES`; None asks nothing.
    """
    app = FastAPI(title="Driver monitoring", version="1")
    if api_token:
        app.add_middleware(TokenGuard, token=api_token)
    app.add_exception_handler(StarletteHTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _validation_problem)

    @app.get("/healthz", responses={503: {"model": HealthOut}})
    async def healthz(response: Response) -> HealthOut:
        """Each dependency's state; 503 when frames cannot be taken."""
        flow, database, storage = await asyncio.gather(
            gateway.health(), _ping(readers.metrics.ping), _ping(readers.footage.ping)
        )
        if not flow.takes_frames:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return HealthOut(
            status="ok" if flow.takes_frames else "unavailable",
            broker=flow.broker,
            detector_replicas=flow.detector_replicas,
            object_model=flow.detector.object_model if flow.detector else "starting",
            face_model=flow.detector.face_model if flow.detector else "starting",
            database=database,
            storage=storage,
            streams=flow.streams,
            refused=flow.refused,
        )

    @app.get("/v1/streams")
    async def streams() -> list[StreamOut]:
        """The open streams, oldest first."""
        return [_stream_out(info) for info in await gateway.streams()]

    @app.get("/v1/streams/{vehicle}")
    async def stream(vehicle: uuid.UUID) -> StreamOut:
        """One open stream; 404 from close_stream on."""
        info = await gateway.stream(vehicle)
        if info is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"no stream of vehicle {vehicle} is open")
        return _stream_out(info)

    @app.get("/footage/{name:path}", response_class=StreamingResponse)
    async def footage(
        name: Annotated[str, Path(description="The object's name, as in `videos.url`")],
        range_: Annotated[str | None, Header(alias="Range", description="One range of bytes")] = None,
    ) -> Response:
        """The MP4, whole or in part (206); by a redirect where the bucket's credentials can sign a URL."""
        found = _OBJECT.fullmatch(name)
        missing = HTTPException(HTTPStatus.NOT_FOUND, "no such footage")
        if found is None:
            raise missing
        try:
            video = video_uuid(uuid.UUID(found["trip"]), int(found["part"] or 1))
        except ValueError as error:
            raise missing from error
        if not await asyncio.to_thread(readers.metrics.video_exists, video):
            raise missing
        if signed := await asyncio.to_thread(readers.footage.signed_url, name):
            return RedirectResponse(signed)
        size = await asyncio.to_thread(readers.footage.size, name)
        if size is None:
            raise missing
        part = _byte_range(range_, size)
        start, end = part or (0, size)
        headers = {"Accept-Ranges": "bytes", "Content-Length": str(end - start)}
        if part:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        status = HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK
        return StreamingResponse(readers.footage.read(name, start, end), status, headers, media_type="video/mp4")

    return app


class TokenGuard:
    """Lets nobody in without `Authorization: Bearer <token>`.

    Args:
        app: What it guards.
        token: The token.
    """

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._wanted = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        said = dict(scope.get("headers", [])).get(b"authorization", b"")
        guarded = scope["type"] in {"http", "websocket"} and scope["path"] not in OPEN_ROUTES
        if guarded and not hmac.compare_digest(said, self._wanted):
            refusal = _problem(HTTPStatus.UNAUTHORIZED, "this route wants `Authorization: Bearer <API_TOKEN>`")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


class Api:
    """The Serve deployment around `make_api`.

    Args:
        gateway: The Gateway's handle.
    """

    def __init__(self, gateway: Any) -> None:
        from serve_app.settings import load_settings  # noqa: PLC0415 - this process's own settings
        from serve_app.stores import open_readers  # noqa: PLC0415

        settings = load_settings()
        token = settings.api_token.get_secret_value() if settings.api_token else None
        self._app = make_api(RemoteGateway(gateway), open_readers(settings), api_token=token)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Asked for by `serve.ingress`."""
        return self._app


class RemoteGateway:
    """`GatewayView` over a Serve handle.

    Args:
        handle: The Gateway's.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def health(self) -> FlowHealth:
        """Whether frames can be taken."""
        health: FlowHealth = await self._handle.health.remote()
        return health

    async def streams(self) -> list[StreamInfo]:
        """The open streams."""
        streams: list[StreamInfo] = await self._handle.streams.remote()
        return streams

    async def stream(self, vehicle: uuid.UUID) -> StreamInfo | None:
        """One of them."""
        stream: StreamInfo | None = await self._handle.stream.remote(vehicle)
        return stream


def _stream_out(info: StreamInfo) -> StreamOut:
    return StreamOut(
        vehicle=info.trip.vehicle,
        trip=info.trip.id,
        opened_at=dt.datetime.fromtimestamp(info.trip.opened_at_ms / 1000, dt.UTC),
        frames=info.frames,
        flagged=info.flagged,
        dropped=info.dropped,
        backlog=info.backlog,
        driver_state=info.driver_state,
        node=info.node,
        pid=info.pid,
    )


async def _ping(ping: Callable[[], object]) -> str:
    try:
        await asyncio.wait_for(asyncio.to_thread(ping), PING_TIMEOUT_S)
    except TimeoutError:
        return f"no answer within {PING_TIMEOUT_S:.0f} s"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return type(error).__name__  # its text may name users and addresses
    return "ok"


def _byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes asked for, end exclusive; None (all) when the header is missing or not understood (RFC 9110, 14.2)."""
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if match[1]:
        start, end = int(match[1]), min(size, int(match[2]) + 1 if match[2] else size)
    else:
        start, end = max(0, size - int(match[2])), size
    if start >= end:
        raise HTTPException(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "no such bytes", headers={"Content-Range": f"bytes */{size}"}
        )
    return start, end


def _problem(status: int, detail: str) -> JSONResponse:
    """RFC 9457."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": int(status), "detail": detail}
    return JSONResponse(body, status, media_type="application/problem+json")


async def _http_problem(_request: Request, error: Exception) -> Response:
    if not isinstance(error, StarletteHTTPException):
        raise error
    problem = _problem(error.status_code, str(error.detail))
    problem.headers.update(error.headers or {})
    return problem


async def _validation_problem(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    told = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, told)
