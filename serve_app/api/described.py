"""The OpenAPI description: what FastAPI knows of the routes, and what guards and error handlers answer around them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from serve_app.api.guard import COOKIE, HEALTH_ROUTE, LOGIN_ROUTE, READING
from serve_app.api.problems import Problem, problems

_FASTAPIS_OWN = ("HTTPValidationError", "ValidationError")
"""What FastAPI says that it answers to wrong arguments; here that is a problem."""
_SECURITY = {
    "token": {"type": "http", "scheme": "bearer", "description": "API_TOKEN"},
    "login": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "What `POST /login` gives"},
}


class DescribedApi(FastAPI):
    """A FastAPI application that describes all of its answers.

    Args:
        wants_token: Whether it asks for API_TOKEN.
        about: As FastAPI takes it.
    """

    def __init__(self, *, wants_token: bool, **about: Any) -> None:
        super().__init__(**about)
        self._wants_token = wants_token

    def openapi(self) -> dict[str, Any]:
        """The description, as `/openapi.json` shows it."""
        known = self.openapi_schema
        described = super().openapi()
        if described is not known:
            _complete(described, wants_token=self._wants_token)
        return described


def _complete(described: dict[str, Any], *, wants_token: bool) -> None:
    components = described.setdefault("components", {})
    schemas = {name: schema for name, schema in components.get("schemas", {}).items() if name not in _FASTAPIS_OWN}
    components["schemas"] = {**schemas, Problem.__name__: Problem.model_json_schema()}
    if wants_token:
        components["securitySchemes"] = _SECURITY
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            guarded = wants_token and path not in {HEALTH_ROUTE, LOGIN_ROUTE}
            if guarded:
                operation["security"] = [{name: []} for name in _SECURITY]
            for status, answer in problems(*_of_all_routes(path, method, operation, guarded=guarded)).items():
                operation["responses"][str(status)] = answer
            if "401" in operation["responses"]:  # to who takes HTML, a page with a form for the token
                operation["responses"]["401"]["content"]["text/html"] = {"schema": {"type": "string"}}


def _of_all_routes(path: str, method: str, operation: dict[str, Any], *, guarded: bool) -> list[HTTPStatus]:
    """What every route of this kind may answer."""
    kinds = {
        HTTPStatus.UNAUTHORIZED: guarded,
        HTTPStatus.FORBIDDEN: method.upper() not in READING,
        HTTPStatus.NOT_FOUND: "{" in path,
        HTTPStatus.MISDIRECTED_REQUEST: path != HEALTH_ROUTE,
        HTTPStatus.UNPROCESSABLE_ENTITY: "422" in operation["responses"],
    }
    return [status for status, applies in kinds.items() if applies]
