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
from serve_app.views import FlowHealth, FlushInfo, StreamInfo

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

    async def close(self, vehicle: uuid.UUID) -> bool:
        """End the vehicle's trip; False when none is open."""

    async def flushes(self) -> list[FlushInfo]:
        """What is closed and not stored yet."""


class StreamOut(BaseModel):
    """An open stream."""

    vehicle: uuid.UUID = Field(description="Its UUID")
    trip: uuid.UUID = Field(description="The open trip's UUID; log lines and what is stored have it, too")
    opened_at: dt.datetime = Field(description="When the trip opened")
    frames: int = Field(description="Accepted so far, and relayed unless they count as `not_relayed`")
    flagged: int = Field(description="Of those, flagged so far")
    dropped: dict[str, int] = Field(description="Frames given up, by reason", examples=[{"not_jpeg": 3}])
    backlog: int = Field(description="Frames waiting for detection")
    driver_state: str = Field(description="What the last frame showed", examples=["attentive", "eyes closed"])
    node: str | None = Field(description="Ray's id of the actor's node; null while it starts")
    pid: int | None = Field(description="The actor's process; null while it starts")


class CloseOut(BaseModel):
    """A trip that ends."""

    vehicle: uuid.UUID = Field(description="Whose it is")


class FlushOut(BaseModel):
    """A part of a trip on its way to the stores."""

    vehicle: uuid.UUID = Field(description="Whose it is")
    trip: uuid.UUID = Field(description="Its trip")
    part: int = Field(description="From 1; a long trip has several")
    object: str | None = Field(
        description="What its MP4 is called in the store, if it has one; null while no actor says"
    )
    step: str = Field(
        description="`waiting` for the parts before it, for the stores or for a place to encode",
        examples=["waiting", "encode", "upload", "rows"],
    )
    attempt: int = Field(description="Of this step, from 1")
    last_error: str | None = Field(description="Why the attempt before this one failed")
    next_try_at: dt.datetime | None = Field(description="When a step that failed is tried again")
    node: str = Field(description="Ray's id of the node that has its journal")
    pid: int | None = Field(description="The actor's process; null while no actor answers for it")


class HealthOut(BaseModel):
    """Each dependency's state; `ok` or what is wrong."""

    status: str = Field(description="Whether frames can be taken", examples=["ok", "unavailable"])
    broker: str = Field(description="Of the Gateway's connection", examples=["connected"])
    detector_replicas: int = Field(description="Detectors that run")
    object_model: str = Field(description="`none` without one", examples=["drivers11n-0a1b2c3d"])
    face_model: str = Field(description="Name of the pack", examples=["landmarker-478"])
    database: str = Field(description="`ok`, or the kind of error", examples=["ok", "OperationalError"])
    storage: str = Field(description="Likewise, of the footage's store", examples=["ok"])
    journal: str = Field(description="`ok`, or why the open trips' journals are not complete on disk")
    streams: int = Field(description="Open ones")
    refused: dict[str, int] = Field(
        description="Everything refused or dropped since the start, by reason", examples=[{"not_jpeg": 3}]
    )


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
            journal=flow.journal,
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
            raise _not_open(vehicle)
        return _stream_out(info)

    @router.post("/v1/streams/{vehicle}/close", status_code=HTTPStatus.ACCEPTED)
    async def close(vehicle: uuid.UUID) -> CloseOut:
        """End the vehicle's trip as its close_stream would; its flush shows in `/v1/flushes`."""
        if not await _in_time(gateway.close(vehicle)):
            raise _not_open(vehicle)
        return CloseOut(vehicle=vehicle)

    @router.get("/v1/flushes")
    async def flushes() -> list[FlushOut]:
        """Trips, or parts of them, that are closed and not stored yet."""
        return [_flush_out(info) for info in await _in_time(gateway.flushes())]

    return router


def _not_open(vehicle: uuid.UUID) -> HTTPException:
    return HTTPException(HTTPStatus.NOT_FOUND, f"no stream of vehicle {vehicle} is open")


def _flush_out(info: FlushInfo) -> FlushOut:
    flush = info.flush
    next_s = flush.next_try_at_s
    return FlushOut(
        vehicle=flush.vehicle,
        trip=flush.trip,
        part=flush.part,
        object=flush.object_name or None,
        step=flush.step,
        attempt=flush.attempt,
        last_error=flush.last_error,
        next_try_at=dt.datetime.fromtimestamp(next_s, dt.UTC) if next_s is not None else None,
        node=info.node,
        pid=info.pid,
    )


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
            journal="unknown",
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
