"""Bringing finished parts to the stores: encode, upload, one transaction; each step may be repeated."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_not_exception_type, wait_exponential_jitter

from actors.encode import NothingToEncodeError, encode_mp4
from actors.ports import Stores
from actors.records import VideoRecord, object_name, video_uuid
from actors.vehicle import Part
from models.errors import one_line

_log = logging.getLogger(__name__)

_T = TypeVar("_T")
Step = Literal["waiting", "encode", "upload", "rows"]
FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0


@dataclass(frozen=True, slots=True)
class FlushStatus:
    """A part on its way to the stores.

    Args:
        object_name: What its MP4 will be called.
        step: Where it is.
        attempt: Of this step, from 1.
        last_error: Why the attempt before this one failed, one line.
        next_try_at_s: Wall clock of the next attempt, when one is waited for.
    """

    object_name: str
    step: Step = "waiting"
    attempt: int = 1
    last_error: str | None = None
    next_try_at_s: float | None = None


class Flusher:
    """Flushes the parts of one vehicle one after the other, off the thread that takes frames.

    A step that fails is tried again, with growing pauses, for as long as it takes.

    Args:
        open_stores: Called at the first flush, so that a vehicle without one never loads their libraries.
        on_idle: Called, on the flusher's thread, when nothing is left to flush.
        sleep: Waits between attempts.
    """

    def __init__(
        self,
        open_stores: Callable[[], Stores],
        *,
        on_idle: Callable[[], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._open_stores = open_stores
        self._stores: Stores | None = None
        self._on_idle = on_idle
        self._sleep = sleep
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="flush")
        self._lock = threading.Lock()
        self._pending: dict[str, FlushStatus] = {}

    def submit(self, part: Part) -> None:
        """Flush this part after those before it; returns at once."""
        name = object_name(part.trip, part.number)
        with self._lock:
            self._pending[name] = FlushStatus(name)
        self._thread.submit(self._flush, part, name).add_done_callback(_report)

    @property
    def pending(self) -> tuple[FlushStatus, ...]:
        """What is not stored yet, oldest first."""
        with self._lock:
            return tuple(self._pending.values())

    def _flush(self, part: Part, name: str) -> None:
        stores: Stores = self._repeat(name, "waiting", self._stores_once)
        uuid = video_uuid(part.trip.id, part.number)
        mp4 = stores.scratch / f"{uuid}.mp4"

        def save() -> None:
            stores.metrics.save(VideoRecord(uuid, part.trip.vehicle, stores.footage.url(name)), part.alerts)

        try:
            self._repeat(name, "encode", lambda: _encode(part, mp4))
            self._repeat(name, "upload", lambda: stores.footage.put(name, mp4))
            self._repeat(name, "rows", save)
            _log.info("stored %s: %d frames, %d alerts", name, len(part.footage), len(part.alerts))
        except NothingToEncodeError as error:
            _log.error("trip %s: nothing to store: %s", part.trip.id, error)
        finally:
            mp4.unlink(missing_ok=True)
            with self._lock:
                del self._pending[name]
                idle = not self._pending
            if idle:
                self._on_idle()

    def _stores_once(self) -> Stores:
        if self._stores is None:
            self._stores = self._open_stores()
        return self._stores

    def _repeat(self, name: str, step: Step, do: Callable[[], _T]) -> _T:
        def note_failure(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            pause_s = state.upcoming_sleep
            line = one_line(error) if error else None
            _log.warning(
                "%s: %s failed (attempt %d), again in %.1f s: %s", name, step, state.attempt_number, pause_s, line
            )
            again = FlushStatus(name, step, state.attempt_number + 1, line, time.time() + pause_s)
            self._note(again)

        self._note(FlushStatus(name, step))
        return Retrying(
            retry=retry_if_not_exception_type(NothingToEncodeError),
            wait=wait_exponential_jitter(multiplier=FIRST_RETRY_S, max=LONGEST_RETRY_S),
            sleep=self._sleep,
            before_sleep=note_failure,
            reraise=True,
        )(do)

    def _note(self, status: FlushStatus) -> None:
        with self._lock:
            self._pending[status.object_name] = status


def _encode(part: Part, mp4: Path) -> None:
    mp4.parent.mkdir(parents=True, exist_ok=True)
    encode_mp4(part.footage, mp4)


def _report(flush: Future[None]) -> None:
    """A fault that no retry covers must not vanish in the thread that met it."""
    if error := flush.exception():
        _log.error("a flush ended early and its part is lost", exc_info=error)
