"""The console's files, without a browser: what is served, to whom, and what it may load."""

from __future__ import annotations

import re

import pytest

from serve_app.api.console import FOLDER
from tests.unit.test_guard import BEARER, FORM, TOKEN, api, ask

HTML = (b"Accept", b"text/html,application/xhtml+xml,*/*;q=0.8")
TEXTS = sorted(path for path in FOLDER.glob("*.*") if path.suffix in {".js", ".html", ".css"})


def test_the_page_and_its_files() -> None:
    page = ask(api(), "/", HTML)
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    for path in re.findall(r'(?:src|href)="(/console/[^"]+)"', page.body.decode()):
        answer = ask(api(), path)
        assert (answer.status, answer.headers["cache-control"]) == (200, "no-cache"), path
    assert "frame-ancestors 'none'" in ask(api(), "/console/app.js").headers["content-security-policy"]
    pages = ("/console/index.html", "/console/login.html")
    for path in (*pages, "/console/", "/console/nothing.js", "/console/../api/app.py", "/console/%2e%2e/api/app.py"):
        assert ask(api(), path).status == 404, path


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_nothing_is_loaded_from_anywhere_else(path: object) -> None:
    text = path.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert re.findall(r"https?://(?!www\.w3\.org/)", text) == []
    assert "innerHTML" not in text


def test_a_browser_without_a_login_gets_a_form_in_place_of_any_page() -> None:
    for path in ("/", "/docs", "/footage/x.mp4"):
        page = ask(api(TOKEN), path, HTML)
        assert page.status == 401
        assert b'<form method="post" action="/login">' in page.body
        assert page.headers["cache-control"] == "no-store"
    assert ask(api(TOKEN), "/").problem
    assert ask(api(TOKEN), "/", BEARER, HTML).status == 200
    assert ask(api(TOKEN), "/console/app.js").status == 401


def test_a_wrong_token_in_the_form_shows_it_again() -> None:
    answer = ask(api(TOKEN), "/login", FORM, method="POST", body=[b"token=wrong"])
    assert answer.status == 401
    assert b"That is not the token." in answer.body
    assert "set-cookie" not in answer.headers
