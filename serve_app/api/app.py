"""The FastAPI application; frames flow without it."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from serve_app.api.footage import footage_routes
from serve_app.api.problems import TokenGuard, fault_problem, http_problem, validation_problem
from serve_app.api.streams import GatewayView, stream_routes
from serve_app.stores import Readers


def make_api(gateway: GatewayView, readers: Readers, *, api_token: str | None) -> FastAPI:
    """The application.

    Args:
        gateway: The Gateway.
        readers: Database and storage.
        api_token: Asked of every route but `problems.OPEN_ROUTES`; None asks nothing.
    """
    app = FastAPI(title="Driver monitoring", version="1")
    if api_token:
        app.add_middleware(TokenGuard, token=api_token)
    app.add_exception_handler(HTTPException, http_problem)
    app.add_exception_handler(RequestValidationError, validation_problem)
    app.add_exception_handler(Exception, fault_problem)
    app.include_router(stream_routes(gateway, readers))
    app.include_router(footage_routes(readers))
    return app
