"""Bringing finished parts to the stores: encode, upload with its trace, one transaction; each may be repeated."""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar
from uuid import UUID

from tenacity import RetryCallState, Retrying, wait_exponential_jitter

from actors.encode import NothingToEncodeError, encode_black, encode_mp4, load_codec
from actors.encoders import ALL_PLACES, PLACES, encoder_place, yield_cores
from actors.flush_tally import Outcome
from actors.journal import Journal
from actors.ports import Stores
from actors.records import EventRecord, TripRecord, VideoRecord, object_name, trace_name, video_uuid
from models.errors import one_line
from models.logs import about
from models.trace import TraceHead, write_trace

_log = logging.getLogger(__name__)

_T = TypeVar("_T")
Step = Literal["waiting", "encode", "upload", "rows"]
FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0


@dataclass(frozen=True, slots=True)
class FlushStatus:
    """A part on its way to the stores.

    Args:
        vehicle: Whose it is.
        trip: Of this trip.
        part: From 1.
        object_name: What its MP4 will be called.
        step: Where it is; `waiting` for the parts before it, for the stores or for a place to encode.
        attempt: Of this step, from 1.
        last_error: Why the attempt before this one failed, one line.
        next_try_at_s: Wall clock of the next attempt, when one is waited for.
    """

    vehicle: UUID
    trip: UUID
    part: int
    object_name: str
    step: Step = "waiting"
    attempt: int = 1
    last_error: str | None = None
    next_try_at_s: float | None = None


class Flusher:
    """Flushes the parts of one vehicle one after the other, off the thread that takes frames.

    A step that fails is tried again, with growing pauses, for as long as it takes. How far a part is stands in its
    journal, which goes when all of it is stored; so the next process goes on where this one was killed.

    Args:
        open_stores: Called at the first flush, so that a vehicle without one never loads their libraries.
        on_idle: Called, on the flusher's thread, when nothing is left to flush.
        on_attempt: Called there too, with each attempt at a step, how it ended and the seconds that it took.
        sleep: Waits between attempts.
    """

    def __init__(
        self,
        open_stores: Callable[[], Stores],
        *,
        on_idle: Callable[[], None],
        on_attempt: Callable[[Step, Outcome, float], None] = lambda *_: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._open_stores = open_stores
        self._stores: Stores | None = None
        self._on_idle = on_idle
        self._on_attempt = on_attempt
        self._sleep = sleep
        self._parts: queue.SimpleQueue[tuple[Journal, str]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._pending: dict[str, FlushStatus] = {}

    def submit(self, part: Journal) -> None:
        """Flush this part after those before it; returns at once.

        Args:
            part: Must have its end.
        """
        trip = part.summary.trip
        name = object_name(trip, part.summary.part)
        with self._lock:
            self._pending[name] = FlushStatus(trip.vehicle, trip.id, part.summary.part, name)
            self._parts.put((part, name))
            if self._thread is None:
                # A daemon: the process need not wait for a store that does not answer, the journal has it all.
                self._thread = threading.Thread(target=self._run, name="flush", daemon=True)
                self._thread.start()

    @property
    def pending(self) -> tuple[FlushStatus, ...]:
        """What is not stored yet, oldest first."""
        with self._lock:
            return tuple(self._pending.values())

    def _run(self) -> None:
        while True:
            part, name = self._parts.get()
            with about(part.summary.trip.vehicle, part.summary.trip.id):
                try:
                    yield_cores()
                    self._flush(part, name)
                except BaseException:  # noqa: BLE001 - what no retry covers must not end the thread, with the parts that come after
                    _log.exception("%s: its flush ended early; its journal stays for the next start", name)

    def _flush(self, part: Journal, name: str) -> None:
        try:
            stores: Stores = self._repeat(name, "waiting", self._stores_once)
            mp4 = stores.scratch / f"{video_uuid(part.summary.trip.id, part.summary.part)}.mp4"
            has_video = part.summary.rows > 0 or part.summary.pictures > 0
            if has_video and not part.summary.uploaded:
                self._repeat(name, "encode", lambda: self._encode(name, part, mp4))
                _log.info("encoded %s: %d pictures", name, part.summary.pictures)
                self._repeat(name, "upload", lambda: stores.footage.put(name, mp4))
                self._repeat(name, "upload", lambda: _put_trace(part, stores))
                part.note_uploaded()
                _log.info("uploaded %s and its trace", name)
            self._repeat(name, "rows", lambda: _save(part, stores, name if has_video else None))
            mp4.unlink(missing_ok=True)
            self._repeat(name, "rows", part.remove)
            if has_video:
                _log.info("stored %s: %d pictures, %d alerts", name, part.summary.pictures, part.summary.rows)
            else:
                trip = part.summary.trip
                _log.info("trip %s of vehicle %s: stored, without footage", trip.id, trip.vehicle)
        finally:
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
            self._note(name, step, state.attempt_number + 1, line, time.time() + pause_s)

        def attempt() -> _T:
            began_s = time.monotonic()
            outcome: Outcome = "failed"
            try:
                made = do()
                outcome = "done"
            finally:
                self._on_attempt(step, outcome, time.monotonic() - began_s)
            return made

        self._note(name, step)
        return Retrying(
            wait=wait_exponential_jitter(multiplier=FIRST_RETRY_S, max=LONGEST_RETRY_S),
            sleep=self._sleep,
            before_sleep=note_failure,
            reraise=True,
        )(attempt)

    def _encode(self, name: str, part: Journal, mp4: Path) -> None:
        """Make the MP4, unless it was made whole before."""
        if mp4.exists():
            return
        load_codec()  # before: it takes half a second, and others could encode meanwhile
        self._note_step(name, "waiting")
        # When the service ends no frames come any more, and its patience does not last.
        places = ALL_PLACES if part.summary.closed_by == "shutdown" else PLACES
        with encoder_place(mp4.parent / "encoders", places):
            self._note_step(name, "encode")
            _make(part, mp4)

    def _note_step(self, name: str, step: Step) -> None:
        with self._lock:
            self._pending[name] = replace(self._pending[name], step=step, next_try_at_s=None)

    def _note(
        self, name: str, step: Step, attempt: int = 1, error: str | None = None, next_try_at_s: float | None = None
    ) -> None:
        with self._lock:
            self._pending[name] = replace(
                self._pending[name], step=step, attempt=attempt, last_error=error, next_try_at_s=next_try_at_s
            )


def _make(part: Journal, mp4: Path) -> None:
    mp4.parent.mkdir(parents=True, exist_ok=True)
    making = mp4.with_suffix(".part")
    try:
        _encode_into(making, part)
        with making.open("rb+") as made:
            os.fsync(made.fileno())  # after a power cut the name must not be there without its bytes
    except BaseException:
        making.unlink(missing_ok=True)  # on a full disk others need that room
        raise
    making.rename(mp4)


def _encode_into(making: Path, part: Journal) -> None:
    try:
        encode_mp4(part.footage(), making)
    except NothingToEncodeError as error:
        # The rows want a video to belong to; a black one says that there was none to keep.
        _log.error("trip %s, part %d: %s; its rows get a black picture", part.summary.trip.id, part.summary.part, error)
        encode_black(making)


def _put_trace(part: Journal, stores: Stores) -> None:
    summary = part.summary
    trip, progress = summary.trip, summary.progress
    path = stores.scratch / f"{video_uuid(trip.id, summary.part)}.json"
    try:
        with path.open("w", encoding="utf-8") as file:
            head = TraceHead(
                *(trip.id, trip.vehicle, trip.opened_at_ms, summary.part, progress.profile, progress.models),
                footage_first_s=summary.first_s,
            )
            write_trace(file, head, part.trace())
        stores.footage.put(trace_name(trip, summary.part), path)
    finally:
        path.unlink(missing_ok=True)


def _save(part: Journal, stores: Stores, name: str | None) -> None:
    """One transaction: the part's video and rows if it has any, and its trip if this is the end of it."""
    summary = part.summary
    trip = summary.trip
    video = VideoRecord(video_uuid(trip.id, summary.part), trip.vehicle, stores.footage.url(name)) if name else None
    record = None
    if summary.closed_by:
        record = TripRecord(
            uuid=trip.id,
            vehicle=trip.vehicle,
            opened_at_ms=trip.opened_at_ms,
            ended_at_ms=trip.opened_at_ms + round(summary.progress.last_s * 1000),
            closed_by=summary.closed_by,
            recovered=part.recovered,
            frames=summary.progress.frames,
            flagged=summary.progress.flagged,
        )
    events = [_in_video(event, part, video) for event in summary.events.values()]
    stores.metrics.save(video, part.alerts() if video else (), record, events)


def _in_video(event: EventRecord, part: Journal, video: VideoRecord | None) -> EventRecord:
    """The event with where the part's video shows it, if it does."""
    first_s, last_s = part.summary.first_s, part.summary.last_s
    if video is None or first_s is None or last_s is None:
        return event
    started_s = (event.started_ms - part.summary.trip.opened_at_ms) / 1000
    ended_s = math.inf if event.ended_ms is None else (event.ended_ms - part.summary.trip.opened_at_ms) / 1000
    if started_s > last_s or ended_s < first_s:
        return event
    return replace(event, video=video.uuid, offset_s=round(max(0.0, started_s - first_s), 3))
