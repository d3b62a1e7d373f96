"""Makes vehicles known to the database as their trips open, without holding up a frame."""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable

from actors.ports import MetricsStore

_log = logging.getLogger(__name__)

RETRY_S = 2.0


class Registrar:
    """Registers one vehicle after the other on a thread of its own, each until the database has it.

    When more are waiting than it holds, the newest is left out with a log line: the flush of its trip registers it too.

    Args:
        open_store: Called on the thread, at the first vehicle.
        capacity: How many may wait.
    """

    def __init__(self, open_store: Callable[[], MetricsStore], *, capacity: int) -> None:
        self._open_store = open_store
        self._store: MetricsStore | None = None
        self._waiting: queue.Queue[uuid.UUID] = queue.Queue(capacity)
        threading.Thread(target=self._run, name="registrar", daemon=True).start()

    def register(self, vehicle: uuid.UUID) -> None:
        """Register it soon; returns at once."""
        try:
            self._waiting.put_nowait(vehicle)
        except queue.Full:
            _log.error(
                "vehicle %s is not registered now: %d are waiting for the database", vehicle, self._waiting.qsize()
            )

    def _run(self) -> None:
        while True:
            vehicle = self._waiting.get()
            while not self._registered(vehicle):
                time.sleep(RETRY_S)

    def _registered(self, vehicle: uuid.UUID) -> bool:
        try:
            if self._store is None:
                self._store = self._open_store()
            self._store.register(vehicle)
        except Exception as error:  # noqa: BLE001 - whatever the database says, the next try may go through
            line = f"{type(error).__name__}: {error}".splitlines()[0]
            _log.warning("registering %s failed, again in %.0f s: %s", vehicle, RETRY_S, line)
            return False
        return True
