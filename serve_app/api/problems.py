"""Errors as RFC 9457 says (`application/problem+json`)."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException


def problem(status: int, detail: str) -> JSONResponse:
    """RFC 9457."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": int(status), "detail": detail}
    return JSONResponse(body, status, media_type="application/problem+json")


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
