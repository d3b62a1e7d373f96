"""The fleet console: static files, one page at `/`; docs/adr/0029."""

from __future__ import annotations

import base64
import hashlib
import html
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from serve_app.adapters.footage import GCS_URL

FOLDER = Path(__file__).parents[1] / "console"

_PAGE_SOURCES = f"default-src 'self'; media-src 'self' {urlsplit(GCS_URL).scheme}://{urlsplit(GCS_URL).netloc}"
"""Footage in a bucket is had by a redirect, where its credentials can sign one."""
_LOGIN_SOURCES = "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{}'"

_ALWAYS_ASK = {"Cache-Control": "no-cache"}
"""Browsers may keep files and must ask whether they are still these: pages and scripts of two versions do not fit."""


def add_console(app: FastAPI) -> None:
    """`/`, and the files below `/console/`."""

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> FileResponse:
        """The console."""
        return FileResponse(FOLDER / "index.html", headers={**_ALWAYS_ASK, **_headers(_PAGE_SOURCES)})

    app.mount("/console", _Files(directory=FOLDER), name="console")


class _Files(StaticFiles):
    """Asked for again each time, and answered with 304 while they are the same."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """See `StaticFiles`."""
        if path.endswith(".html"):  # pages have addresses and headers of their own
            raise HTTPException(HTTPStatus.NOT_FOUND, "no such file")
        answer = await super().get_response(path, scope)
        answer.headers.update({**_ALWAYS_ASK, **_headers(_PAGE_SOURCES)})
        return answer


def login_page(said: str = "") -> HTMLResponse:
    """A 401 with a form for the token; it needs no other file.

    Args:
        said: What was wrong with the last one.
    """
    page = (FOLDER / "login.html").read_text(encoding="utf-8").replace("{{said}}", html.escape(said))
    script = page.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    headers = {"Cache-Control": "no-store", **_headers(_LOGIN_SOURCES.format(digest))}
    return HTMLResponse(page, HTTPStatus.UNAUTHORIZED, headers=headers)


def _headers(sources: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": f"{sources}; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
    }
