"""`python -m serve_app streams | close`: a look at the running service from a terminal, over its own HTTP API."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable

from serve_app.client import AnswerError, Client
from serve_app.settings import SettingsError, load_settings


def streams() -> int:
    """Print the open streams; 1 when the service cannot be asked."""
    return _told(_print_streams)


def close(vehicle: uuid.UUID) -> int:
    """End a vehicle's trip; 1 when none is open or the service cannot be asked."""

    def ask(service: Client) -> None:
        service.ask("POST", f"/v1/streams/{vehicle}/close")
        print(f"the trip of {vehicle} is closed; /v1/flushes shows it until it is stored")

    return _told(ask)


def _told(do: Callable[[Client], None]) -> int:
    try:
        do(Client.own(load_settings()))
    except (AnswerError, SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _print_streams(service: Client) -> None:
    found = service.ask("GET", "/v1/streams")
    print(f"{'vehicle':36s}  {'opened at':20s} {'frames':>8s} {'flagged':>8s} {'dropped':>8s} {'backlog':>8s}  driver")
    for one in found:
        dropped = sum(one["dropped"].values())
        print(
            f"{one['vehicle']}  {one['opened_at'][:19]:20s} {one['frames']:8d} {one['flagged']:8d} {dropped:8d} "
            f"{one['backlog']:8d}  {one['driver_state']}"
        )
