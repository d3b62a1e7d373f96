"""One vehicle: its driver's state, its open trip's footage and metrics in its journal, what it hands to the flush."""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from actors.journal import (
    UNREADABLE,
    EmptyJournalError,
    Journal,
    JournalInUseError,
    Summary,
    left_behind,
    named,
)
from actors.journal_records import JournalError, Progress, Taken
from actors.records import AlertRecord, EventRecord, alert_uuid, event_uuid
from models.errors import one_line
from models.events import Event
from models.footage import FootageRing
from models.logs import about
from models.policy import FrameMetrics, Policy
from models.profiles import PROFILES, ProfileName
from models.senses import Limits
from models.trace import Row, row_of
from models.types import ClosedBy, Frame, Observation, Trip

_log = logging.getLogger(__name__)

CALM_RECORD_S = 10.0
"""A trip in which nothing happens notes as often how far it is: the count of its frames is right to that."""


MOST_CLOSED = 100
"""Ended trips that are remembered: repeats come within seconds, and an actor rarely lives for more than a few."""


@dataclass(frozen=True, slots=True)
class VehicleConfig:
    """What a vehicle needs to know; holds no secret, since it travels through Ray.

    Args:
        profile: Which numbers the policy uses.
        pre_roll_s: Footage before a flagged frame.
        post_roll_s: Footage after a flagged frame.
        footage_max_bytes: JPEG bytes after which the footage goes on in a new part.
        sync_interval_s: How often the disk is made to hold what the journal was given; 0: before each answer.
        orphaned_after_s: Without a word from the Gateway for so long the vehicle suspends its trip by itself.
    """

    profile: ProfileName
    pre_roll_s: float
    post_roll_s: float
    footage_max_bytes: int
    sync_interval_s: float
    orphaned_after_s: float


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """A frame with what the models saw in it."""

    frame: Frame
    observation: Observation


@dataclass(frozen=True, slots=True)
class PushReply:
    """The answer to a push.

    Args:
        alerts: The texts that hold at its flagged frames, each once; the Gateway leaves out what it said lately.
        events: Events that began, got worse or ended with it.
        flagged: Flagged frames of the trip so far.
        driver_state: What the last frame showed, in words.
        not_kept: Pictures of this push that the disk had no room for.
        not_taken: Frames of this push that came after the end of their trip.
        part: Of the trip, the one under way.
        journal: Why the journal is not complete on disk; empty when all is well.
    """

    alerts: tuple[str, ...]
    flagged: int
    driver_state: str
    not_kept: int = 0
    not_taken: int = 0
    part: int = 0
    journal: str = ""
    events: tuple[EventRecord, ...] = ()


@dataclass(slots=True)
class _OpenTrip:
    trip: Trip
    policy: Policy
    ring: FootageRing
    journal: Journal
    progress: Progress
    resumed: bool = False  # from a journal, and nobody has pushed to it since
    noted_s: float = 0.0  # capture time of the last record
    models: str = ""  # that said what is known of it
    trace: list[Row] = field(default_factory=list)  # since the last record

    def traced(self) -> tuple[Row, ...]:
        rows = tuple(self.trace)
        self.trace.clear()
        return rows


class Vehicle:
    """Takes pushes in order and hands finished parts to `flush`, which must not block.

    What the journals of this vehicle hold, left behind by a process that died, is taken over at once: the last trip
    goes on if it has no end, everything else is handed to `flush`.

    Args:
        vehicle: Its UUID.
        config: See `VehicleConfig`.
        folder: Where its journals are.
        flush: Takes a part that is complete.
    """

    def __init__(
        self, vehicle: uuid.UUID, config: VehicleConfig, folder: Path, flush: Callable[[Journal], None]
    ) -> None:
        self._vehicle = vehicle
        self._config = config
        self._folder = folder
        self._flush = flush
        self._open: _OpenTrip | None = None
        self._last_push: tuple[object, PushReply] | None = None
        self._suspended: _OpenTrip | None = None
        self._closed: dict[uuid.UUID, int] = {}  # trips in the order of their ends, with the number of their next frame
        # Pushes come from one thread; the watch for silence and the sync are others.
        self._lock = threading.Lock()
        self._take_over()

    def push(
        self, trip: Trip, frames: Sequence[SeenFrame], closed_by: ClosedBy | None = None, after_part: int = 0
    ) -> PushReply:
        """Take the next frames of a trip, and its end if `closed_by` says so.

        What must last is in the journal when this returns. Repeating a push is harmless: the last one is answered as
        before, so that no alert is lost with an answer, older frames are known by (`trip`, `seq`), and a trip that is
        closed stays closed. The first push of a trip opens it; one for another trip closes the open one.

        Args:
            trip: The trip.
            frames: In order.
            closed_by: Who ended it.
            after_part: The last part that the Gateway heard of. Should this process know nothing of the trip, because
                its journal is on a node that is gone, it must not use that part's name again.
        """
        key = (trip.id, frames[-1].frame.seq if frames else None, closed_by) if frames or closed_by else None
        with about(trip.vehicle, trip.id), self._lock:
            if key and self._last_push and self._last_push[0] == key:
                return self._last_push[1]
            if trip.id in self._closed:
                return self._too_late(trip, frames)
            before: tuple[EventRecord, ...] = ()
            if self._open is not None and self._open.trip.id != trip.id:
                before = self._close("recovered" if self._open.resumed else "orphaned")
            if self._open is None:
                self._open = self._again(trip) or self._begin(trip, after_part)
            open_trip = self._open
            open_trip.resumed = False
            reply = self._take(open_trip, frames)
            after = self._close(closed_by) if closed_by is not None else ()
            reply = replace(reply, events=(*before, *reply.events, *after))
            self._last_push = (key, reply)
            if closed_by is None and open_trip.journal.summary.footage_bytes >= self._config.footage_max_bytes:
                self._next_part(open_trip)
            return reply

    def suspend(self) -> None:
        """Let go of the open trip, whose Gateway is gone, and flush what it has so far; its journal stays without end.

        It goes on with the next push, here or in the next process. If none ever comes, it is finished like any other
        journal that was left behind.
        """
        with self._lock:
            open_trip = self._open
            if open_trip is None:
                return
            if open_trip.journal.summary.rows or open_trip.journal.summary.pictures:
                self._next_part(open_trip)
            self._note_calm_frames(open_trip)
            open_trip.journal.sync()
            if open_trip.journal.fault:  # then it may be in memory only, and this process is about to end
                self._close("recovered" if open_trip.resumed else "orphaned")
                return
            self._open, self._suspended = None, open_trip

    def release(self) -> None:
        """Leave the suspended trip's journal to the next process; this one is about to end."""
        with self._lock:
            if self._suspended is not None:
                self._suspended.journal.release()

    def finish_left_behind(self, trip: Trip | None = None) -> None:
        """End the trip that was taken over from a journal, unless someone has pushed to it since.

        Args:
            trip: Only this one, which was opened by a Gateway that died, whether or not it got as far as here.
        """
        with self._lock:
            is_open = self._open is not None and (trip is None or self._open.trip.id == trip.id)
            if self._open is not None and is_open:
                if self._open.resumed:
                    self._close("recovered")
            elif trip is not None and trip.id not in self._closed:
                self._remember(trip.id, 0)
                journal = self._begin(trip).journal
                journal.end("recovered")
                self._flush(journal)

    def sync(self) -> None:
        """Have the disk hold what the journal was given."""
        with self._lock:
            journal = self._open.journal if self._open else None
        if journal:
            with about(self._vehicle, journal.summary.trip.id):
                journal.sync()

    @property
    def trip(self) -> Trip | None:
        """The open trip."""
        with self._lock:  # never a look between a trip's end and the hand-over of its last part
            return self._open.trip if self._open else None

    @property
    def limits(self) -> Limits | None:
        """See `Policy.limits`; of the open trip."""
        with self._lock:
            return self._open.policy.limits if self._open else None

    @property
    def running_events(self) -> tuple[EventRecord, ...]:
        """Of the open trip, in the order in which they began."""
        with self._lock:
            return tuple(_event_records(self._open, self._open.policy.running_events)) if self._open else ()

    @property
    def standing(self) -> tuple[Trip, Progress, int] | None:
        """The open trip, also a suspended one; how far it is, and its part."""
        with self._lock:
            at = self._open or self._suspended
            return (at.trip, at.progress, at.journal.summary.part) if at else None

    def _take_over(self) -> None:
        journals = sorted(self._left_behind(), key=lambda one: one.summary.part)
        last = {one.summary.trip.id: one for one in journals}
        unfinished = [one for one in last.values() if one.summary.closed_by is None]
        # Several: the process died while it noted the end of a trip that had never got as far as a frame, or the disk
        # did not take the end of one.
        goes_on = max(unfinished, key=lambda one: (one.summary.progress.next_seq > 0, one.written_at), default=None)
        # The open trip's, whose last part carries the last answer: the clock of files is too coarse to order its parts.
        newest = goes_on or max(journals, key=lambda one: (one.written_at, one.summary.part), default=None)
        for journal in journals:
            summary = journal.summary
            with about(self._vehicle, summary.trip.id):
                _log.info("trip %s, part %d: its journal was left behind", summary.trip.id, summary.part)
            if last[summary.trip.id] is not goes_on:
                self._remember(summary.trip.id, summary.progress.next_seq)
            if journal is goes_on and summary.ended is None:
                self._open = self._resume(journal)
                continue
            if summary.ended is None:
                journal.end("recovered" if journal is last[summary.trip.id] else None)
            self._flush(journal)
            if journal in unfinished and summary.closed_by is None:
                # It was full, and the beginning of its next part never reached the disk.
                after = Journal.create(self._folder, summary.trip, summary.part + 1, summary.progress)
                if journal is goes_on:
                    self._open = self._resume(after)
                else:
                    after.end("recovered")
                    self._flush(after)

        if newest is not None:
            self._answer_again(newest.summary)

    def _left_behind(self) -> Iterator[Journal]:
        for path in left_behind(self._folder):
            found = named(path)
            if found is None or found[0] != self._vehicle:
                continue
            with about(self._vehicle, found[1]):
                journal = _opened(path)
            if journal:
                yield journal

    def _resume(self, journal: Journal) -> _OpenTrip:
        summary = journal.summary
        with about(self._vehicle, summary.trip.id):
            _log.info("trip %s goes on from its journal at frame %d", summary.trip.id, summary.progress.next_seq)
            open_trip = self._begun(summary.trip, journal, summary.progress)
        open_trip.resumed = True
        return open_trip

    def _answer_again(self, summary: Summary) -> None:
        """Maybe the last answer was lost with the process: if its push is repeated, its alerts must be heard."""
        if self._open is not None and self._open.trip.id == summary.trip.id:
            reply = replace(self._reply(self._open, summary.progress.texts), events=summary.progress.events)
        else:
            reply = PushReply(summary.progress.texts, summary.progress.flagged, "", events=summary.progress.events)
        self._last_push = (summary.trip.id, summary.progress.next_seq - 1, summary.closed_by), reply

    def _too_late(self, trip: Trip, frames: Sequence[SeenFrame]) -> PushReply:
        new = sum(seen.frame.seq >= self._closed[trip.id] for seen in frames)
        if new:
            _log.error("trip %s: %d frames came after its end and are not taken", trip.id, new)
        return PushReply(alerts=(), flagged=0, driver_state="", not_taken=new)

    def _begin(self, trip: Trip, after_part: int = 0) -> _OpenTrip:
        # Journals of this trip that another process holds keep their part numbers.
        parts = [found[2] for path in left_behind(self._folder) if (found := named(path)) and found[1] == trip.id]
        progress, part = Progress(), max([*parts, after_part]) + 1
        with about(trip.vehicle, trip.id):
            _log.info("trip %s of vehicle %s: begins with part %d", trip.id, trip.vehicle, part)
        return self._begun(trip, Journal.create(self._folder, trip, part, progress), progress)

    def _again(self, trip: Trip) -> _OpenTrip | None:
        """The suspended trip, if it is this one; else that one is over."""
        suspended, self._suspended = self._suspended, None
        if suspended is not None and suspended.trip.id != trip.id:
            self._open = suspended
            self._close("orphaned")
            return None
        return suspended

    def _begun(self, trip: Trip, journal: Journal, progress: Progress) -> _OpenTrip:
        policy = Policy(PROFILES[self._config.profile])
        if progress.policy is not None:
            try:
                policy.restore(progress.policy)
            except (KeyError, TypeError, ValueError) as error:  # of another version: conditions begin anew
                _log.warning("trip %s: its driver's state is not understood: %s", trip.id, one_line(error))
        ring = FootageRing(pre_roll_s=self._config.pre_roll_s, post_roll_s=self._config.post_roll_s)
        ring.until_s = progress.until_s
        return _OpenTrip(trip, policy, ring, journal, progress, models=progress.models)

    def _take(self, open_trip: _OpenTrip, frames: Sequence[SeenFrame]) -> PushReply:
        """Some frames further, and into the journal with what they left."""
        step = _Step(open_trip.policy.running)
        try:
            for seen in frames:
                if seen.frame.seq >= step.next_seq(open_trip.progress):
                    self._step(open_trip, seen, step)
        finally:  # also when one of them cannot be understood: those before it have been taken
            not_kept = self._note(open_trip, step)
        return replace(self._reply(open_trip, tuple(step.texts), not_kept), events=tuple(step.events))

    def _step(self, open_trip: _OpenTrip, seen: SeenFrame, step: _Step) -> None:
        frame = seen.frame
        step.last = frame
        step.frames += 1
        metrics = open_trip.policy.step(seen.observation, frame.captured_s)
        open_trip.trace.append(row_of(seen.observation, frame.captured_s))
        step.footage += open_trip.ring.step(frame, flagged=metrics.flagged)
        if metrics.flagged:
            step.alerts.append(_alert_record(open_trip.trip, frame, metrics))
        step.texts |= dict.fromkeys((*metrics.labels, *metrics.conditions))
        open_trip.models = seen.observation.models
        step.events += _event_records(open_trip, metrics.events)

    def _note(self, open_trip: _OpenTrip, step: _Step) -> int:
        """Write what a push left, if anything; how many of its pictures could not be kept."""
        if step.last is None:
            return 0
        before = open_trip.progress
        open_trip.progress = Progress(
            next_seq=step.last.seq + 1,
            frames=before.frames + step.frames,
            flagged=before.flagged + len(step.alerts),
            last_s=step.last.captured_s,
            until_s=open_trip.ring.until_s,
            policy=open_trip.policy.snapshot(),
            texts=tuple(step.texts),
            events=tuple(step.events),
            profile=open_trip.policy.name,
            models=open_trip.models,
        )
        matters = step.footage or step.alerts or step.events or step.was_running or open_trip.policy.running
        if not matters and step.last.captured_s - open_trip.noted_s < CALM_RECORD_S:
            return 0
        open_trip.noted_s = step.last.captured_s
        taken = Taken(open_trip.progress, tuple(step.footage), tuple(step.alerts), open_trip.traced())
        not_kept = open_trip.journal.take(taken)
        if self._config.sync_interval_s == 0:
            open_trip.journal.sync()
        return not_kept

    def _reply(self, open_trip: _OpenTrip, texts: tuple[str, ...], not_kept: int = 0) -> PushReply:
        return PushReply(
            alerts=texts,
            flagged=open_trip.progress.flagged,
            driver_state=open_trip.policy.state,
            not_kept=not_kept,
            part=open_trip.journal.summary.part,
            journal=open_trip.journal.fault,
        )

    def _next_part(self, open_trip: _OpenTrip) -> None:
        # The new one first: were it the other way round, a death in between would number the next part from 1.
        full = open_trip.journal
        open_trip.journal = Journal.create(self._folder, open_trip.trip, full.summary.part + 1, open_trip.progress)
        open_trip.journal.sync()
        full.end(None)
        self._flush(full)

    def _close(self, closed_by: ClosedBy) -> tuple[EventRecord, ...]:
        """End the open trip; the events that end with it."""
        if self._open is None:
            return ()
        open_trip, self._open = self._open, None
        trip, progress = open_trip.trip, open_trip.progress
        self._remember(trip.id, progress.next_seq)
        ended = tuple(_event_records(open_trip, open_trip.policy.end()))
        if ended:
            open_trip.progress = replace(open_trip.progress, events=(*open_trip.progress.events, *ended))
        with about(trip.vehicle, trip.id):
            self._note_calm_frames(open_trip)
            open_trip.journal.end(closed_by)
            _log.info(
                "trip %s of vehicle %s: ended (%s) with %d frames, %d flagged",
                *(trip.id, trip.vehicle, closed_by, progress.frames, progress.flagged),
            )
        self._flush(open_trip.journal)
        return ended

    def _note_calm_frames(self, open_trip: _OpenTrip) -> None:
        """Those since the last record; their count is right then."""
        if open_trip.journal.summary.progress != open_trip.progress:
            open_trip.journal.take(Taken(open_trip.progress, trace=open_trip.traced()))

    def _remember(self, trip: uuid.UUID, next_seq: int) -> None:
        self._closed[trip] = next_seq
        while len(self._closed) > MOST_CLOSED:
            del self._closed[next(iter(self._closed))]


def _opened(path: Path) -> Journal | None:
    """A journal that can be taken over, or None and a line that says why not."""
    try:
        return Journal.open(path)
    except JournalInUseError as error:
        _log.warning("%s is left alone: %s", path.name, error)
    except EmptyJournalError:
        _log.info("%s held nothing and is gone", path.name)
    except JournalError as error:
        _log.error("%s %s; it is kept as %s", path.name, error, path.name + UNREADABLE)
        with contextlib.suppress(OSError):  # on a disk that takes nothing it stays, and this is said again
            path.rename(path.with_name(path.name + UNREADABLE))
    except OSError as error:
        _log.error("%s is left alone: %s", path.name, one_line(error))
    return None


@dataclass(slots=True)
class _Step:
    """What a push is leaving."""

    was_running: bool
    last: Frame | None = None
    frames: int = 0
    footage: list[Frame] = field(default_factory=list)
    alerts: list[AlertRecord] = field(default_factory=list)
    texts: dict[str, None] = field(default_factory=dict)
    events: list[EventRecord] = field(default_factory=list)

    def next_seq(self, before: Progress) -> int:
        return self.last.seq + 1 if self.last else before.next_seq


def _event_records(open_trip: _OpenTrip, events: Sequence[Event]) -> Iterator[EventRecord]:
    opened_at_ms = open_trip.trip.opened_at_ms
    for event in events:
        yield EventRecord(
            uuid=event_uuid(open_trip.trip.id, event.number),
            vehicle=open_trip.trip.vehicle,
            trip=open_trip.trip.id,
            kind=event.kind,
            severity=event.severity,
            started_ms=opened_at_ms + round(event.started_s * 1000),
            ended_ms=None if event.ended_s is None else opened_at_ms + round(event.ended_s * 1000),
            peak=event.peak,
            coverage=event.coverage,
            policy=open_trip.policy.name,
            models=open_trip.models,
        )


def _alert_record(trip: Trip, frame: Frame, metrics: FrameMetrics) -> AlertRecord:
    return AlertRecord(
        uuid=alert_uuid(trip.id, frame.seq),
        time_ms=trip.opened_at_ms + round(frame.captured_s * 1000),
        ear=metrics.ear,
        mar=metrics.mar,
        sleep_duration=metrics.sleep_duration_s,
        yawning_duration=metrics.yawning_duration_s,
        focus_duration=metrics.focus_duration_s,
        object_detected=", ".join(metrics.labels) or None,
    )
