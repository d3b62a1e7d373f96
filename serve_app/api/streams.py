"""Health and open streams, as the Gateway knows them."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Protocol, TypeVar

from fastapi import APIRouter, HTTPException, Response
from pydantic import BaseModel, Field
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from serve_app.probe import Probe
from serve_app.stores import Readers
from serve_app.views import FlowHealth, StreamInfo

ANSWER_TIMEOUT_S = 3.0
_T = TypeVar("_T")


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
    frames: int = Field(description="Accepted so far, and relayed unless they count as `not_relayed`")
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


def stream_routes(gateway: GatewayView, readers: Readers) -> APIRouter:
    """`/healthz` and `/v1/streams`."""
    router = APIRouter()
    database_probe, storage_probe = Probe(readers.metrics.ping), Probe(readers.footage.ping)

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz", responses={503: {"model": HealthOut}})
    async def healthz(response: Response) -> HealthOut:
        """Each dependency's state; 503 when frames cannot be taken."""
        flow, database, storage = await asyncio.gather(
            _flow_health(gateway), _ping(database_probe), _ping(storage_probe)
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

    @router.get("/v1/streams")
    async def streams() -> list[StreamOut]:
        """The open streams, oldest first."""
        return [_stream_out(info) for info in await _in_time(gateway.streams())]

    @router.get("/v1/streams/{vehicle}")
    async def stream(vehicle: uuid.UUID) -> StreamOut:
        """One open stream; 404 from close_stream on."""
        info = await _in_time(gateway.stream(vehicle))
        if info is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"no stream of vehicle {vehicle} is open")
        return _stream_out(info)

    return router


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


async def _flow_health(gateway: GatewayView) -> FlowHealth:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await gateway.health()
    except Exception as error:  # noqa: BLE001 - whatever it is, the Gateway is not there, and that is the answer
        return FlowHealth(
            broker=f"the Gateway does not answer ({type(error).__name__})",
            detector_replicas=0,
            detector=None,
            streams=0,
            refused={},
        )


async def _in_time(answer: Awaitable[_T]) -> _T:
    """The Gateway's answer, or a 503: it may be about to be replaced."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await answer
    except (TimeoutError, RayError, RayServeException) as error:
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "the Gateway does not answer; try again") from error


async def _ping(probe: Probe[None]) -> str:
    try:
        await probe.answer(ANSWER_TIMEOUT_S)
    except TimeoutError:
        return f"no answer within {ANSWER_TIMEOUT_S:.0f} s"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return type(error).__name__  # its text may name users and addresses
    return "ok"
