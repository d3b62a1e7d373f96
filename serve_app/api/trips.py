"""Trips that have ended: what they left, what the models saw in each frame, and what other profiles would have said."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import sys
import tempfile
import uuid
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from models.profiles import LIMITS_OF, PROFILES
from models.types import EventKind
from serve_app.adapters.footage import trace_of
from serve_app.adapters.stored import StoredVideo
from serve_app.api.footage import from_store
from serve_app.api.paging import CursorText, Limit, PageOut, page_out, read_cursor
from serve_app.api.stored import OfVehicle, RowOut, Since, Until, UuidText, VideoOut, read
from serve_app.settings import PROJECT
from serve_app.stores import Readers

_log = logging.getLogger(__name__)

RESCORE_S = 60.0


class TripOut(RowOut):
    """A trip that has ended."""

    uuid: UuidText = Field(description="Its UUID")
    vehicle: UuidText = Field(description="Whose it was")
    opened_at: dt.datetime = Field(description="When its open_stream came")
    ended_at: dt.datetime = Field(description="When its last frame was captured")
    closed_by: str = Field(
        description="Who ended it", examples=["device", "idle", "operator", "shutdown", "orphaned", "recovered"]
    )
    recovered: bool = Field(description="Whether another process stored its end than the one that took it")
    frames: int = Field(description="Looked at")
    flagged: int = Field(description="Of those, flagged")
    events: dict[str, int] = Field(description="How many, by kind", examples=[{"phone_use": 1}])


class TripDetailOut(TripOut):
    """A trip and its footage."""

    videos: list[VideoOut] = Field(description="Its parts, in order; empty where nothing was flagged")


class ProfileEventOut(BaseModel):
    """An event as a profile has it; seconds since the trip opened."""

    kind: str = Field(description="What the driver did", examples=["phone_use"])
    severity: str = Field(description="The highest it had", examples=["info", "medium", "high", "critical"])
    started_s: float = Field(description="When it began")
    ended_s: float | None = Field(description="When it was over")
    peak: dict[str, float] = Field(description="Its worst, by what was measured", examples=[{"eyes_closed_s": 1.6}])
    coverage: float = Field(description="Share of its time in which something was known, 0 to 1")


class LimitOut(BaseModel):
    """A number that decides, and where it comes from."""

    name: str = Field(description="As `python -m models.profiles` prints it", examples=["microsleep_s"])
    value: float | None = Field(description="null: the profile has no such rule")
    source: str = Field(description="Where it comes from")


class ProfileOut(BaseModel):
    """The numbers of a profile."""

    name: str = Field(description="With its version, as events name it", examples=["default@2"])
    limits: list[LimitOut] = Field(description="All of them")
    of_kind: dict[EventKind, list[str]] = Field(description="Which of them decide about a kind of event")


def trip_routes(readers: Readers) -> APIRouter:
    """`/v1/trips`, `/v1/videos/{uuid}/trace` and `/v1/profiles`."""
    router = APIRouter()
    rows = readers.rows
    one_at_a_time = asyncio.Lock()

    @router.get("/v1/trips")
    async def trips(
        *,
        vehicle: OfVehicle = None,
        since: Since = None,
        until: Until = None,
        flagged: Annotated[bool | None, Query(description="With flagged frames, or without any")] = None,
        limit: Limit = 100,
        cursor: CursorText = None,
    ) -> PageOut[TripOut]:
        """The trips that have ended, the last to open first."""
        page = await read(
            lambda: rows.trips(limit, read_cursor(cursor), vehicle=vehicle, since=since, until=until, flagged=flagged)
        )
        return page_out(page, TripOut)

    @router.get("/v1/trips/{trip}")
    async def trip(trip: uuid.UUID) -> TripDetailOut:
        """One of them, with its footage."""
        found = await read(lambda: rows.trip(trip))
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"no trip {trip} has ended and is stored")
        videos = await read(lambda: rows.videos_of_trip(trip))
        plain = TripOut.model_validate(found).model_dump()
        return TripDetailOut(**plain, videos=[VideoOut.model_validate(video) for video in videos])

    @router.get("/v1/trips/{trip}/profiles")
    async def profiles_of(trip: uuid.UUID) -> dict[str, list[ProfileEventOut]]:
        """The events that each profile would have found, by its name and version: of a trip with footage."""
        names = [name for video in await read(lambda: rows.videos_of_trip(trip)) if (name := _trace_name(video))]
        if not names:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"trip {trip} has left no trace")
        if one_at_a_time.locked():  # each wants a core for a while
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "another trip is being scored again; try again soon")
        async with one_at_a_time:
            return await _rescored(readers, names)

    @router.get("/v1/videos/{video}/trace", response_class=StreamingResponse)
    async def trace(video: uuid.UUID) -> StreamingResponse:
        """What the models saw in each frame of the video's part of its trip; docs/adr/0020 says how it reads."""
        found = await read(lambda: rows.video(video))
        name = _trace_name(found) if found else None
        size = await from_store(lambda: readers.footage.size(name)) if name else None
        if name is None or size is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"video {video} has no trace")
        return StreamingResponse(readers.footage.read(name, 0, size), media_type="application/json")

    @router.get("/v1/profiles")
    async def profiles() -> list[ProfileOut]:
        """The profiles that POLICY_PROFILE may name, with all their numbers."""
        return [
            ProfileOut(
                name=f"{profile.name}@{profile.version}",
                limits=[
                    LimitOut(name=name, value=None if value == float("inf") else value, source=value.source)
                    for name, value in profile.limits.items()
                ],
                of_kind={kind: list(names) for kind, names in LIMITS_OF.items()},
            )
            for profile in PROFILES.values()
        ]

    return router


def _trace_name(video: StoredVideo) -> str | None:
    return trace_of(video.object_name) if video.object_name else None


async def _rescored(readers: Readers, names: list[str]) -> dict[str, list[ProfileEventOut]]:
    """By a process of its own: a long trip takes a core for seconds, and live pictures go through this one."""
    with tempfile.TemporaryDirectory(prefix="dms-rescore-") as folder:
        paths = await from_store(lambda: _fetched(readers, names, Path(folder)))
        process = await asyncio.create_subprocess_exec(
            *("nice", "-n", "19", sys.executable, "-m", "models.rescore", "--json", *map(str, paths)),
            cwd=PROJECT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(RESCORE_S):
                said, complaint = await process.communicate()
        except TimeoutError as error:
            raise HTTPException(
                HTTPStatus.SERVICE_UNAVAILABLE, "the trip is too long to be scored again here"
            ) from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode:
        _log.error("scoring %s again failed: %s", names[0], complaint.decode(errors="replace").strip())
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "the trip's trace cannot be read")
    found: dict[str, list[dict[str, Any]]] = json.loads(said)
    return {profile: [ProfileEventOut(**event) for event in events] for profile, events in found.items()}


def _fetched(readers: Readers, names: list[str], folder: Path) -> list[Path]:
    paths = []
    for number, name in enumerate(names):
        size = readers.footage.size(name)
        if size is None:
            raise FileNotFoundError(name)
        path = folder / f"{number}.json"
        with path.open("wb") as file:
            file.writelines(readers.footage.read(name, 0, size))
        paths.append(path)
    return paths
