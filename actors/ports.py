"""What the vehicle needs of the world outside; adapters in `serve_app.adapters`, fakes in `tests/fakes`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from actors.records import AlertRecord, EventRecord, TripRecord, VideoRecord


class FootageStore(Protocol):
    """Where MP4s go, and the traces beside them."""

    def put(self, name: str, file: Path) -> None:
        """Store the file under `name`; when it is there already, leave it and return.

        Raises:
            OSError: Or the client library's own error, when it could not be stored. May be tried again.
        """

    def url(self, name: str) -> str:
        """The HTTP URL of `name` for a person's browser, at most 191 characters, ending in `name`."""


class MetricsStore(Protocol):
    """Where rows go."""

    def register(self, vehicle: uuid.UUID) -> None:
        """Insert the vehicle if it is unknown.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: The database did not do it. May be tried again.
        """

    def save(
        self,
        video: VideoRecord | None,
        alerts: Sequence[AlertRecord],
        trip: TripRecord | None = None,
        events: Sequence[EventRecord] = (),
    ) -> None:
        """Write the video with its alerts, the trip, events and, if unknown, their vehicle in one transaction.

        Videos and alerts that are there stay. A trip that is there has its end replaced if this
        one has no fewer frames: it has gone on since. An event that is there becomes what this one says, but stays in
        its video, and is over if it was; the end of a trip ends its events.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: Nothing was written. May be tried again.
        """


@dataclass(frozen=True, slots=True)
class Stores:
    """Where a flush brings things, and where it works.

    Args:
        footage: For the MP4.
        metrics: For the rows.
        scratch: A local folder for files under way; made when needed.
    """

    footage: FootageStore
    metrics: MetricsStore
    scratch: Path


@dataclass(frozen=True, slots=True)
class Home:
    """Where a node keeps things, found by each process from its own settings, so that no secret passes through Ray.

    Args:
        journals: The folder of the journals.
        open_stores: The stores.
    """

    journals: Callable[[], Path]
    open_stores: Callable[[], Stores]
