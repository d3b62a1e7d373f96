"""The FastAPI application; frames flow without it."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from serve_app.api.console import add_console
from serve_app.api.described import DescribedApi
from serve_app.api.footage import footage_routes
from serve_app.api.guard import Key, SiteGuard, TokenGuard, login_routes
from serve_app.api.health import health_routes
from serve_app.api.live import live_routes
from serve_app.api.problems import fault_problem, http_problem, problems, validation_problem
from serve_app.api.stored import stored_routes
from serve_app.api.streams import GatewayView, stream_routes
from serve_app.api.trips import trip_routes
from serve_app.live import Live
from serve_app.stores import Readers


def make_api(gateway: GatewayView, readers: Readers, live: Live, *, api_token: str | None, public_url: str) -> FastAPI:
    """The application.

    Args:
        gateway: The Gateway.
        readers: Database and storage.
        live: What the broker says of vehicles.
        api_token: Asked of every route but `/healthz` and `/login`; None asks nothing.
        public_url: Where browsers reach it.
    """
    app = DescribedApi(title="Driver monitoring", version="1", wants_token=bool(api_token))
    key = Key(api_token) if api_token else None
    if key:
        app.add_middleware(TokenGuard, key=key)
    app.add_middleware(SiteGuard, public_url=public_url)  # the last one added is asked first
    app.add_exception_handler(HTTPException, http_problem)
    app.add_exception_handler(RequestValidationError, validation_problem)
    app.add_exception_handler(Exception, fault_problem)
    app.include_router(login_routes(key, public_url=public_url))
    may_be_away = problems(HTTPStatus.SERVICE_UNAVAILABLE)  # the Gateway, the database
    app.include_router(health_routes(gateway, readers))
    app.include_router(stream_routes(gateway), responses=may_be_away)
    app.include_router(stored_routes(readers.rows), responses=may_be_away)
    app.include_router(trip_routes(readers), responses=may_be_away)
    app.include_router(footage_routes(readers))
    add_console(app)
    app.include_router(live_routes(live, gateway))
    return app
