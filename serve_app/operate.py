"""`python -m serve_app streams | close`: a look at the running service from a terminal, over its own HTTP API."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
import uuid
from typing import Any

from serve_app.settings import Settings, SettingsError, load_settings

TIMEOUT_S = 10.0
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a server may listen on is no place to call
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Our own service is asked directly, whatever proxy this machine is told to use."""


class AnswerError(Exception):
    """The service did not do what was asked; the message is for a person."""


def streams() -> int:
    """Print the open streams; 1 when the service cannot be asked."""
    return _told(_print_streams)


def close(vehicle: uuid.UUID) -> int:
    """End a vehicle's trip; 1 when none is open or the service cannot be asked."""

    def ask(settings: Settings) -> None:
        _ask(settings, "POST", f"/v1/streams/{vehicle}/close")
        print(f"the trip of {vehicle} is closed; /v1/flushes shows it until it is stored")

    return _told(ask)


def _told(do: Any) -> int:
    try:
        do(load_settings())
    except (AnswerError, SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _print_streams(settings: Settings) -> None:
    found = _ask(settings, "GET", "/v1/streams")
    print(f"{'vehicle':36s}  {'opened at':20s} {'frames':>8s} {'flagged':>8s} {'dropped':>8s} {'backlog':>8s}  driver")
    for one in found:
        dropped = sum(one["dropped"].values())
        print(
            f"{one['vehicle']}  {one['opened_at'][:19]:20s} {one['frames']:8d} {one['flagged']:8d} {dropped:8d} "
            f"{one['backlog']:8d}  {one['driver_state']}"
        )


def _ask(settings: Settings, method: str, path: str) -> Any:
    host = _EVERY_ADDRESS.get(settings.http_host, settings.http_host)
    at = f"http://{f'[{host}]' if ':' in host else host}:{settings.http_port}"
    request = urllib.request.Request(at + path, method=method)  # noqa: S310 - our own service
    request.add_header("Host", "localhost")  # whatever address it listens on, and whatever PUBLIC_URL calls it
    if settings.api_token:
        request.add_header("Authorization", f"Bearer {settings.api_token.get_secret_value()}")
    try:
        with _DIRECT.open(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AnswerError(_detail(error)) from error
    except OSError as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise AnswerError(f"no service answers at {at}: {reason}") from error


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the service answered {error.code} {error.reason}"
