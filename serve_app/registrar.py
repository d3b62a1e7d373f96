"""Makes vehicles known to the database as their trips open, without holding up a frame."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable

from actors.ports import MetricsStore
from models.errors import one_line
from models.logs import about

_log = logging.getLogger(__name__)

RETRY_S = 2.0
MOST_WAITING = 100_000


class Registrar:
    """Registers one vehicle after the other on a thread of its own, each until the database has it.

    A vehicle that waits already waits once. Beyond `MOST_WAITING` vehicles, a new one is left out with a log line.

    Args:
        open_store: Called on the thread, at the first vehicle.
    """

    def __init__(self, open_store: Callable[[], MetricsStore]) -> None:
        self._open_store = open_store
        self._store: MetricsStore | None = None
        self._waiting: dict[uuid.UUID, None] = {}  # in the order of coming
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="registrar", daemon=True).start()

    def register(self, vehicle: uuid.UUID) -> None:
        """Register it soon; returns at once."""
        with self._changed:
            if len(self._waiting) >= MOST_WAITING and vehicle not in self._waiting:
                with about(vehicle):
                    _log.error("vehicle %s is not registered: %d wait for the database", vehicle, len(self._waiting))
                return
            self._waiting[vehicle] = None
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                vehicle = next(iter(self._waiting))
            with about(vehicle):
                while not self._registered(vehicle):
                    time.sleep(RETRY_S)
            with self._changed:
                del self._waiting[vehicle]

    def _registered(self, vehicle: uuid.UUID) -> bool:
        try:
            if self._store is None:
                self._store = self._open_store()
            self._store.register(vehicle)
        except Exception as error:  # noqa: BLE001 - whatever the database says, the next try may go through
            _log.warning("registering %s failed, again in %.0f s: %s", vehicle, RETRY_S, one_line(error))
            return False
        return True
