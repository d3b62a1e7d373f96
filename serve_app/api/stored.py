"""What is stored: vehicles, their videos, the flagged frames in these, and events."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, TypeVar

from fastapi import APIRouter, HTTPException, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy.exc import SQLAlchemyError

from models.types import EventKind
from serve_app.adapters.stored import NotRecordedError, StoredRows
from serve_app.api.paging import CursorText, Limit, PageOut, page_out, read_cursor

_T = TypeVar("_T")

UuidText = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
"""As it stands in the table, where the companion may have written it."""


def _in_utc(time: dt.datetime) -> dt.datetime:
    try:
        return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
    except OverflowError as error:
        raise ValueError("beyond the calendar") from error


Time = Annotated[dt.datetime, AfterValidator(_in_utc)]
Since = Annotated[Time | None, Query(description="Begun at or after this; UTC where it names no zone")]
Until = Annotated[Time | None, Query(description="Begun before this; likewise")]
OfVehicle = Annotated[uuid.UUID | None, Query(description="Of this vehicle only")]


class RowOut(BaseModel):
    """Made of a stored row."""

    model_config = ConfigDict(from_attributes=True)


class VehicleOut(RowOut):
    """A vehicle that has opened a trip."""

    uuid: UuidText = Field(description="Its UUID")
    created_at: dt.datetime = Field(description="When it was first heard of")


class VideoOut(RowOut):
    """A part of a trip's footage."""

    uuid: UuidText = Field(description="Its UUID")
    vehicle: UuidText = Field(description="Whose it is")
    url: str = Field(description="Of the MP4, as the table has it")
    footage: str | None = Field(description="Path of the MP4 here; null for a row that is not of this service")
    created_at: dt.datetime = Field(description="When it was stored")


class AlertOut(RowOut):
    """A flagged frame."""

    uuid: UuidText = Field(description="Derived from the trip's UUID and the frame's number in it")
    video: UuidText = Field(description="Which shows it")
    time: dt.datetime = Field(description="When it was captured")
    ear: float = Field(description="Eye aspect ratio, the mean of both eyes")
    mar: float = Field(description="Mouth aspect ratio")
    sleep_duration: float = Field(description="Seconds for which the eyes have been closed")
    yawning_duration: float = Field(description="Seconds for which the mouth has been open wide")
    focus_duration: float = Field(description="Seconds for which the head has been turned away")
    object_detected: str | None = Field(description="Names of objects, alphabetical", examples=["bottle, phone"])


class EventOut(RowOut):
    """What a driver did, from its beginning to its end."""

    id: UuidText = Field(description="The same from its beginning to its end, on MQTT too")
    trip: UuidText = Field(description="In which it happened")
    vehicle: UuidText = Field(description="Whose driver it was")
    kind: str = Field(description="What the driver did", examples=["phone_use"])
    severity: str = Field(description="The highest it had", examples=["info", "medium", "high", "critical"])
    started_at: dt.datetime = Field(description="When it began")
    ended_at: dt.datetime | None = Field(description="null while it runs")
    peak: dict[str, float] = Field(description="Its worst, by what was measured", examples=[{"eyes_closed_s": 1.6}])
    coverage: float = Field(description="Share of its time in which something was known, 0 to 1")
    policy: str = Field(description="Name and version of the rules", examples=["default@2"])
    models: str = Field(description="Which models saw it", examples=["drivers11n-0a1b2c3d landmarker-478"])
    video: UuidText | None = Field(description="In which it begins, if there is one")
    offset_s: float | None = Field(description="Seconds into that")


def stored_routes(rows: StoredRows) -> APIRouter:
    """`/v1/vehicles`, their `/videos`, `/v1/videos/{uuid}/alerts`, `/v1/events` and one of them."""
    router = APIRouter()

    @router.get("/v1/vehicles")
    async def vehicles(limit: Limit = 100, cursor: CursorText = None) -> PageOut[VehicleOut]:
        """The vehicles, the last to come first."""
        return page_out(await read(lambda: rows.vehicles(limit, read_cursor(cursor))), VehicleOut)

    @router.get("/v1/vehicles/{vehicle}/videos")
    async def videos(vehicle: uuid.UUID, limit: Limit = 100, cursor: CursorText = None) -> PageOut[VideoOut]:
        """A vehicle's videos, the last to be stored first."""
        page = await read(lambda: rows.videos(vehicle, limit, read_cursor(cursor)))
        if page is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"no vehicle {vehicle} is known")
        return page_out(page, VideoOut)

    @router.get("/v1/videos/{video}/alerts")
    async def alerts(video: uuid.UUID, limit: Limit = 100, cursor: CursorText = None) -> PageOut[AlertOut]:
        """The flagged frames of a video, the last to be captured first."""
        page = await read(lambda: rows.alerts(video, limit, read_cursor(cursor)))
        if page is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"no video {video} is stored")
        return page_out(page, AlertOut)

    @router.get("/v1/events")
    async def events(
        *,
        vehicle: OfVehicle = None,
        trip: Annotated[uuid.UUID | None, Query(description="Of this trip only")] = None,
        kind: Annotated[EventKind | None, Query(description="Of this kind only")] = None,
        since: Since = None,
        until: Until = None,
        limit: Limit = 100,
        cursor: CursorText = None,
    ) -> PageOut[EventOut]:
        """Events of all vehicles, the last to begin first."""
        page = await read(
            lambda: rows.events(
                limit,
                read_cursor(cursor),
                vehicle=vehicle,
                trip=trip,
                kind=kind,
                since=since,
                until=until,
            )
        )
        return page_out(page, EventOut)

    @router.get("/v1/events/{event}")
    async def event(event: uuid.UUID) -> EventOut:
        """One event."""
        found = await read(lambda: rows.event(event))
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"no event {event} is stored")
        return EventOut.model_validate(found)

    return router


async def read(query: Callable[[], _T]) -> _T:
    """The database's answer, or a 503; its error may name users and addresses."""
    try:
        return await asyncio.to_thread(query)
    except SQLAlchemyError as error:
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "the database does not answer; try again") from error
    except NotRecordedError as error:
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
