"""Which trips are open, noted beside the journals for the Gateway that comes next."""

from __future__ import annotations

import contextlib
import json
import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from models.errors import one_line
from models.logs import about
from models.types import Trip

_log = logging.getLogger(__name__)

_SUFFIX = ".open"


class TripNotes:
    """`flow.Notes` as files beside the journals: an open_stream outlives the Gateway that has acknowledged it.

    Args:
        folder: Of the journals; made when needed.
        session: Names the Ray that runs; a trip of another one has no actor any more.
    """

    def __init__(self, folder: Path, session: str) -> None:
        self._folder = folder
        self._session = session
        # Neither frames nor the loop wait for a disk that stands still; one thread, so that order holds.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trip-notes")

    def opened(self, trip: Trip) -> None:
        """See `Notes.opened`; on the disk a moment later."""
        self._thread.submit(self._write, trip)

    def closed(self, trip: Trip) -> None:
        """See `Notes.closed`."""
        self._thread.submit(self._remove, trip)

    def read(self) -> tuple[list[Trip], list[Trip]]:
        """The trips noted as open: those of this Ray, and those of one that is gone."""
        return self._thread.submit(self._read).result()

    def _write(self, trip: Trip) -> None:
        note = {
            "trip": str(trip.id),
            "vehicle": str(trip.vehicle),
            "opened_at_ms": trip.opened_at_ms,
            "session": self._session,
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            half = self._path(trip).with_suffix(".half")
            half.write_text(json.dumps(note))
            half.replace(self._path(trip))
        except OSError as error:
            with about(trip.vehicle, trip.id):
                _log.warning("trip %s is not noted: %s", trip.id, one_line(error))

    def _remove(self, trip: Trip) -> None:
        try:
            self._path(trip).unlink(missing_ok=True)
        except OSError as error:
            with about(trip.vehicle, trip.id):
                _log.warning("the note of trip %s stays: %s", trip.id, one_line(error))

    def _read(self) -> tuple[list[Trip], list[Trip]]:
        mine: list[Trip] = []
        others: list[Trip] = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            try:
                note = json.loads(path.read_text())
                trip = Trip(uuid.UUID(note["trip"]), uuid.UUID(note["vehicle"]), int(note["opened_at_ms"]))
                same = note["session"] == self._session
            except FileNotFoundError:  # closed meanwhile
                continue
            except (OSError, ValueError, KeyError, TypeError) as error:  # spoilt by a power cut, or not by us
                _log.warning("%s is no note of an open trip: %s", path.name, one_line(error))
                with contextlib.suppress(OSError):
                    path.rename(path.with_suffix(".unreadable"))
                continue
            (mine if same else others).append(trip)
        return mine, others

    def _path(self, trip: Trip) -> Path:
        return self._folder / f"{trip.vehicle}.{trip.id}{_SUFFIX}"
