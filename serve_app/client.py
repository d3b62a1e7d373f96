"""A running service's HTTP API, as commands ask it."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any, Self

from serve_app.settings import Settings

TIMEOUT_S = 10.0
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a server may listen on is no place to call


class AnswerError(Exception):
    """The service did not do what was asked; the message is for a person.

    Args:
        message: What went wrong.
        status: Of the answer; None when there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token is for who was asked."""

    def redirect_request(self, *_: Any) -> None:
        """Go nowhere."""


class Client:
    """Asks one service. Safe to use from threads.

    Args:
        url: Where it is, `http://host[:port]`.
        token: API_TOKEN; None: there is none.
        is_own: It is this machine's: asked directly, whatever proxy this machine is told to use, and under a name that
            it answers to, whatever address it listens on and whatever PUBLIC_URL calls it.
    """

    def __init__(self, url: str, token: str | None, *, is_own: bool) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        if is_own:
            self._headers["Host"] = "localhost"
        proxies = [urllib.request.ProxyHandler({})] if is_own else []
        self._opener = urllib.request.build_opener(_NoRedirect(), *proxies)

    @classmethod
    def own(cls, settings: Settings) -> Self:
        """Of the service that runs with these settings."""
        host = _EVERY_ADDRESS.get(settings.http_host, settings.http_host)
        url = f"http://{f'[{host}]' if ':' in host else host}:{settings.http_port}"
        return cls(url, token_of(settings), is_own=True)

    def ask(self, method: str, path: str, *, also: int | None = None) -> Any:
        """The answer's JSON.

        Args:
            method: `GET` or `POST`.
            path: With its query.
            also: A status whose answer is as good as one of 2xx.

        Raises:
            AnswerError: There is none, or it says no.
        """
        request = urllib.request.Request(self.url + path, method=method, headers=self._headers)  # noqa: S310 - http or https, see the caller
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == also:
                return _json(error)
            raise AnswerError(_detail(error), error.code) from error
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise AnswerError(f"no service answers at {self.url}: {str(reason).strip()}") from error
        except ValueError as error:
            raise AnswerError(f"what answers at {self.url} is no such service") from error


def token_of(settings: Settings) -> str | None:
    """API_TOKEN, for whom it is meant."""
    return settings.api_token.get_secret_value() if settings.api_token else None


def _json(error: urllib.error.HTTPError) -> Any:
    try:
        return json.load(error)
    except (ValueError, OSError):
        return None


def _detail(error: urllib.error.HTTPError) -> str:
    said = _json(error)
    detail = said.get("detail") if isinstance(said, dict) else None
    return str(detail or f"the service answered {error.code} {error.reason}")
