"""The MP4 of a trip over HTTP, whole or in parts."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, HTTPException, Path, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from actors.records import video_uuid
from serve_app.adapters.footage import is_object_name
from serve_app.api.problems import problems
from serve_app.api.stored import read
from serve_app.stores import Readers

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_TRIP_AND_PART = re.compile(r".{48}(?P<trip>.{36})(?:-(?P<part>[0-9]{1,4}))?\.mp4")  # of a name that is one

_MP4 = {"content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    HTTPStatus.OK: {"description": "All of it", **_MP4},
    HTTPStatus.PARTIAL_CONTENT: {"description": "The bytes of `Range`", **_MP4},
    HTTPStatus.TEMPORARY_REDIRECT: {"description": "To a URL in the bucket, good for five minutes"},
    **problems(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, HTTPStatus.SERVICE_UNAVAILABLE),
}


def footage_routes(readers: Readers) -> APIRouter:
    """`/footage/{object}`, for objects that a `videos` row names."""
    router = APIRouter()

    @router.head("/footage/{name:path}", include_in_schema=False)
    @router.get("/footage/{name:path}", response_class=StreamingResponse, responses=_ANSWERS)
    async def footage(
        name: Annotated[str, Path(description="The object's name, as in `videos.url`")],
        range_: Annotated[
            str | None, Header(alias="Range", description="One range of bytes", examples=["bytes=0-99"])
        ] = None,
    ) -> Response:
        """The MP4, whole or in part (206); by a redirect where the bucket's credentials can sign a URL."""
        missing = HTTPException(HTTPStatus.NOT_FOUND, "no such footage")
        found = _TRIP_AND_PART.fullmatch(name) if is_object_name(name) else None
        if found is None:
            raise missing
        video = video_uuid(uuid.UUID(found["trip"]), int(found["part"] or 1))
        if not await read(lambda: readers.metrics.video_exists(video)):
            raise missing
        size = await from_store(lambda: readers.footage.size(name))
        if size is None:  # also for another day, vehicle or spelling of the part: no flush makes such an object
            raise missing
        if signed := await from_store(lambda: readers.footage.signed_url(name)):
            return RedirectResponse(signed)
        part = _byte_range(range_, size)
        start, end = part or (0, size)
        headers = {"Accept-Ranges": "bytes", "Content-Length": str(end - start)}
        if part:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        status = HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK
        return StreamingResponse(readers.footage.read(name, start, end), status, headers, media_type="video/mp4")

    return router


async def from_store(ask: Callable[[], _T]) -> _T:
    """The store's answer, or a 503; its error may name buckets and accounts, so it goes to the log only."""
    try:
        return await asyncio.to_thread(ask)
    except FileNotFoundError as error:
        raise HTTPException(HTTPStatus.NOT_FOUND, "it is not in the store any more") from error
    except Exception as error:  # client libraries have errors of their own
        _log.exception("the footage store does not answer")
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, "the footage store does not answer; try again") from error


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
