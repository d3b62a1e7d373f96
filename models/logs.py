"""Log lines, set up in one place: text for people or one JSON object a line, which knows its vehicle and trip."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import os
from collections.abc import Iterator
from contextvars import ContextVar
from uuid import UUID

ENCODING = "RAY_LOGGING_CONFIG_ENCODING"
"""`TEXT` or `JSON`; Ray's own setting, so that its processes and ours write alike."""
TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_RAYS_OWN = ("ray", "ray.serve")
"""Loggers that have handlers of their own."""

_vehicle_and_trip: ContextVar[tuple[UUID | None, UUID | None]] = ContextVar("about", default=(None, None))


def as_json() -> bool:
    """Whether this process writes JSON."""
    return os.environ.get(ENCODING) == "JSON"


def set_up_logs(process: str, *, vehicle: UUID | None = None, level: int = logging.INFO, text: str = TEXT) -> None:
    """Have this process log to stderr.

    Args:
        process: What to call it in JSON.
        vehicle: The one that it is there for, if it is for one.
        level: Lines below are left out.
        text: The format, where it is not JSON.
    """
    formatter = JsonLines(process, vehicle) if as_json() else logging.Formatter(text)
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    # As JSON it takes the place of the one that Ray has put there; as text Ray puts none.
    logging.basicConfig(level=level, handlers=[handler], force=as_json())
    for name in _RAYS_OWN if as_json() else ():
        for own in logging.getLogger(name).handlers:
            own.setFormatter(formatter)


@contextlib.contextmanager
def about(vehicle: UUID | None, trip: UUID | None = None) -> Iterator[None]:
    """Meanwhile every line of this thread or task, also a library's, is about them: JSON has them as fields."""
    token = _vehicle_and_trip.set((vehicle, trip))
    try:
        yield
    finally:
        _vehicle_and_trip.reset(token)


class JsonLines(logging.Formatter):
    """One JSON object a line (docs/adr/0028); to be used on the thread that logs.

    Args:
        process: What to call this process.
        vehicle: Whose lines they are, unless `about` says another one.
    """

    def __init__(self, process: str, vehicle: UUID | None = None) -> None:
        super().__init__()
        self._process = process
        self._vehicle = vehicle

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        time = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        vehicle, trip = _vehicle_and_trip.get()
        vehicle = vehicle or self._vehicle
        line = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
            "vehicle": str(vehicle) if vehicle else None,
            "trip": str(trip) if trip else None,
            "exception": self.formatException(record.exc_info) if record.exc_info else None,
        }
        return json.dumps({name: value for name, value in line.items() if value is not None})
