"""Errors as RFC 9457 says (`application/problem+json`)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = Field(description="Status and detail say it all", examples=["about:blank"])
    title: str = Field(description="The status in words", examples=["Not Found"])
    status: int = Field(description="The same as the answer's", examples=[404])
    detail: str = Field(description="What is wrong, in one line", examples=["no such footage"])


def problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """What `responses=` of a route says of errors; `DescribedApi` adds those that every route may answer."""
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    return {int(status): {"description": status.phrase, "content": content} for status in statuses}


def problem(status: int, detail: str) -> JSONResponse:
    """RFC 9457."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": int(status), "detail": detail}
    return JSONResponse(body, status, media_type=MEDIA_TYPE)


async def http_problem(_request: Request, error: Exception) -> Response:
    """A 404 and its like as a problem."""
    if not isinstance(error, HTTPException):
        raise error
    answer = problem(error.status_code, str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


async def fault_problem(_request: Request, _error: Exception) -> Response:
    """Any other error as a problem; its text may name users and addresses, so it goes to the log only."""
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the log says more")


async def validation_problem(_request: Request, error: Exception) -> Response:
    """What is wrong with a request's arguments, in one line, as a problem."""
    if not isinstance(error, RequestValidationError):
        raise error
    told = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, told)
