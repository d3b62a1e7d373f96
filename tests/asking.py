"""Requests to an application, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response

URL = "http://127.0.0.1:8000"


def ask(
    app: FastAPI,
    method: str,
    path: str,
    *,
    params: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | Sequence[tuple[bytes, bytes]] | None = None,
    body: bytes = b"",
) -> Response:
    """The answer to one request; a fault of the application is one as well."""

    async def answered() -> Response:
        transport = ASGITransport(app, raise_app_exceptions=False)
        async with AsyncClient(transport=transport, base_url=URL) as client:
            return await client.request(method, path, params=params, content=body, headers=headers)

    return asyncio.run(answered())
