"""Open streams and flushes, as the Gateway knows them."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Awaitable, Sequence
from http import HTTPStatus
from typing import Protocol, TypeVar

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from serve_app.observed import Seen
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

    async def open(self, vehicle: uuid.UUID) -> bool:
        """Begin a trip of the vehicle, if none is open; False when that is refused."""

    async def close(self, vehicle: uuid.UUID) -> bool:
        """End the vehicle's trip; False when none is open."""

    async def flushes(self) -> list[FlushInfo]:
        """What is closed and not stored yet."""

    async def observed(self, vehicle: uuid.UUID, after: int) -> Sequence[Seen]:
        """What was seen of it since, see `Observed.after`."""


class LimitsOut(BaseModel):
    """What a driver's measures are compared with now; it moves with the driver's calibration."""

    model_config = ConfigDict(from_attributes=True)

    blink_closed: float | None = Field(description="Eyes are closed above this `eye_blink`; null where EAR says it")
    ear_closed: float = Field(description="Else they are closed below this EAR", examples=[0.13])
    jaw_open: float | None = Field(description="The mouth is wide open above this `jaw_open`; null where MAR says it")
    mar_open: float = Field(description="Else it is above this MAR", examples=[1.0])
    yaw_deg: tuple[float, float] = Field(description="The head is away outside these", examples=[(-25.0, 25.0)])
    pitch_deg: tuple[float, float] = Field(description="Likewise", examples=[(-20.0, 20.0)])


class RunningEventOut(BaseModel):
    """An event that has not ended."""

    id: uuid.UUID = Field(description="The same from its beginning to its end")
    kind: str = Field(description="What the driver does", examples=["phone_use"])
    severity: str = Field(description="The highest so far", examples=["info", "medium", "high", "critical"])
    started_at: dt.datetime = Field(description="When it began")


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
    events: list[RunningEventOut] = Field(description="Those that run, in the order in which they began")
    limits: LimitsOut | None = Field(description="null until there was a face")


class AcceptedOut(BaseModel):
    """What begins or ends."""

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


def stream_routes(gateway: GatewayView) -> APIRouter:
    """`/v1/streams` and `/v1/flushes`."""
    router = APIRouter()

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

    @router.post("/v1/streams/{vehicle}/open", status_code=HTTPStatus.ACCEPTED)
    async def open_(vehicle: uuid.UUID) -> AcceptedOut:
        """Begin a trip as the vehicle's open_stream would; without effect while one is open."""
        if not await _in_time(gateway.open(vehicle)):
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "refused: too many are open, or open at once")
        return AcceptedOut(vehicle=vehicle)

    @router.post("/v1/streams/{vehicle}/close", status_code=HTTPStatus.ACCEPTED)
    async def close(vehicle: uuid.UUID) -> AcceptedOut:
        """End the vehicle's trip as its close_stream would; its flush shows in `/v1/flushes`."""
        if not await _in_time(gateway.close(vehicle)):
            raise _not_open(vehicle)
        return AcceptedOut(vehicle=vehicle)

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
        opened_at=_time(info.trip.opened_at_ms),
        frames=info.frames,
        flagged=info.flagged,
        dropped=info.dropped,
        backlog=info.backlog,
        driver_state=info.driver_state,
        node=info.node,
        pid=info.pid,
        events=[
            RunningEventOut(id=event.uuid, kind=event.kind, severity=event.severity, started_at=_time(event.started_ms))
            for event in info.events
        ],
        limits=LimitsOut.model_validate(info.limits) if info.limits else None,
    )


def _time(time_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)


async def _in_time(answer: Awaitable[_T]) -> _T:
    """The Gateway's answer, or a 503: it may be about to be replaced."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await answer
    except (TimeoutError, RayError, RayServeException) as error:
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "the Gateway does not answer; try again") from error
