"""The flow of frames: broker -> mailboxes -> Detectors -> vehicles -> alerts. Decides nothing about a driver."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import math
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from ray.exceptions import ActorUnavailableError, NodeDiedError, OutOfMemoryError, RayActorError, RayError
from ray.serve.exceptions import RayServeException

from actors.records import EventRecord, event_message
from actors.vehicle import PushReply
from actors.vehicle_actor import VehicleStatus
from models.errors import one_line
from models.jpeg import FrameLimits
from models.logs import about
from models.once_per import OncePer
from models.types import Frame, Observation, Trip, Unreadable
from serve_app.intake import Intake, StreamView
from serve_app.metrics import Buckets, buckets
from serve_app.observed import Observed
from serve_app.scheduler import Batch, Dropped, Item, Push, Scheduler
from serve_app.views import StreamInfo

_log = logging.getLogger(__name__)

ALERT_INTERVAL_S = 10.0
LOG_INTERVAL_S = 10.0
DETECT_TIMEOUT_S = 20.0
"""Many times what a batch takes; a call that hangs must not keep its place for ever."""
TICK_S = 1.0
REPLICAS_TICKS = 3
"""Between two looks at their number: Serve's answer is long, and costs 20 ms."""
REPLICAS_TIMEOUT_S = 5.0
GROW_S = 1.0
"""Without an answer for so long, batches under way hold up no other any more."""
BATCHES = 50
"""Of which people see the mean size."""
HEARTBEAT_S = 5.0
"""An open trip without frames is pushed to as often, so that its actor knows the Gateway is there."""
HANDED_ON = 2000
"""Frames that may be between the MQTT thread and the mailboxes: a second or two of a full load."""
SEQ_GAP = 1_000_000
"""Between the numbers of an adopted trip's last accepted frame and its next: a push of the Gateway that was killed may
still reach the actor, and its frames must not have the numbers of new ones, which would then be taken for repeats."""
HAND_OVER_POLL_S = 0.05
FIRST_RETRY_S = 0.05
LONGEST_RETRY_S = 2.0


class Detect(Protocol):
    """The Detectors, as the Gateway uses them."""

    async def detect(self, jpegs: list[bytes]) -> list[Observation | Unreadable]:
        """One answer per frame, in order."""

    async def replicas(self) -> int:
        """How many are running."""


class Vehicles(Protocol):
    """The vehicles' actors, as the Gateway uses them."""

    async def push(self, vehicle: uuid.UUID, push: Push, after_part: int) -> PushReply:
        """Push to the vehicle's actor, which is started if there is none; see `Vehicle.push`."""

    async def status(self, vehicle: uuid.UUID) -> VehicleStatus | None:
        """A look at it; None when it is not there (yet)."""

    async def alive(self) -> int:
        """How many are there, flushes under way included."""


class Notes(Protocol):
    """Which trips are open, where the next Gateway finds them."""

    def opened(self, trip: Trip) -> None:
        """Note it; returns at once, does not raise."""

    def closed(self, trip: Trip) -> None:
        """Forget it, since its actor knows its end; returns at once, does not raise."""


class Broker(Protocol):
    """The broker, as the Gateway uses it."""

    def relay(self, topic: str, payload: bytes) -> bool:
        """Send a frame's base64, on the thread that received the frame; False when it was given up."""

    def publish(self, topic: str, payload: bytes | str) -> None:
        """Send a message at QoS 1, from any thread."""


@dataclass(frozen=True, slots=True)
class FlowConfig:
    """How the frames flow.

    Args:
        limits: What a frame may be at most.
        max_vehicles: Streams that may be open at once.
        mailbox_frames: Frames that may wait for detection per vehicle.
        max_batch_size: Frames in one call to a Detector.
        batches_per_replica: Calls in flight per running Detector; more than its target_ongoing_requests, so that
            load makes it scale, and at most its max_ongoing_requests.
        idle_timeout_s: Without a frame for so long a trip ends.
    """

    limits: FrameLimits
    max_vehicles: int
    mailbox_frames: int
    max_batch_size: int
    batches_per_replica: int
    idle_timeout_s: float


@dataclass(slots=True)
class FlowCounts:
    """What went through since the start; see `serve_app.metrics`.

    Args:
        observed: Frames that the models answered.
        flagged: Of these, as their vehicles say.
        alerts: By text.
        events: That have ended, by kind.
        batch_frames: Of batches that were answered.
        observe: Seconds from a frame's receipt to its observation.
        detect: Seconds of a call to a Detector.
        push: Seconds of a push.
    """

    observed: int = 0
    flagged: int = 0
    alerts: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    batch_frames: Buckets = field(default_factory=partial(buckets, "dms_batch_frames"))
    observe: Buckets = field(default_factory=partial(buckets, "dms_stage_seconds"))
    detect: Buckets = field(default_factory=partial(buckets, "dms_stage_seconds"))
    push: Buckets = field(default_factory=partial(buckets, "dms_stage_seconds"))


class Flow:
    """The flow of frames, on one event loop.

    Args:
        config: See `FlowConfig`.
        detectors: See `Detect`.
        vehicles: See `Vehicles`.
        broker: See `Broker`.
        register: Makes a vehicle known to the database; repeated by whoever provides it.
        notes: See `Notes`.
        keep_crashed: Keeps a frame that killed the Detector; called on a thread, and does not raise.
        loop: Where everything but `intake.message` runs.

    Attributes:
        intake: Takes the messages.
        counts: See `FlowCounts`.
    """

    def __init__(
        self,
        config: FlowConfig,
        *,
        detectors: Detect,
        vehicles: Vehicles,
        broker: Broker,
        register: Callable[[uuid.UUID], object],
        notes: Notes,
        keep_crashed: Callable[[Dropped], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._config = config
        self._detectors = detectors
        self._vehicles = vehicles
        self._broker = broker
        self._register = register
        self._notes = notes
        self._keep_crashed = keep_crashed
        self._scheduler = Scheduler(mailbox_frames=config.mailbox_frames, max_batch_size=config.max_batch_size)
        self._alerts = OncePer(ALERT_INTERVAL_S)
        self._logged = OncePer(LOG_INTERVAL_S)
        self._replies: dict[uuid.UUID, PushReply] = {}
        self._pushed: dict[uuid.UUID, tuple[Trip, float]] = {}  # the open trip as its actor knows it, and since when
        self._spelled: dict[uuid.UUID, str] = {}  # as the device wrote it last, for what is said at its trip's end
        self._handing_over = False
        self._loop = loop
        self._arrived: deque[Item] = deque()  # from the MQTT thread, not yet in the mailboxes
        self._called = False  # the loop has been told of them
        self._replicas = 0
        self._in_flight: dict[int, float] = {}  # batches by their number, and since when
        self._batches = itertools.count()
        self._answered_s = -math.inf  # the last of them
        self._batch_frames: deque[int] = deque(maxlen=BATCHES)
        self._work: set[asyncio.Task[None]] = set()
        self._fault: BaseException | None = None
        self.observed = Observed()
        self.counts = FlowCounts()
        # The one way from the MQTT thread onto the loop: it keeps the order.
        self.intake = Intake(
            limits=config.limits,
            max_vehicles=config.max_vehicles,
            relay=broker.relay,
            emit=self._hand_on,
            note=notes.opened,
        )

    def start(self) -> None:
        """Begin to do what time, not a message, asks for: idle trips, heartbeats, the number of Detectors."""
        self._start(self._tick_forever(), "tick")

    async def _tick_forever(self) -> None:
        for tick in itertools.count():
            if not self._handing_over:  # then no frame is taken, and silence says nothing
                self.intake.close_idle(self._config.idle_timeout_s)
            self._send_heartbeats()
            self._pump()
            self.observed.forget()
            if tick % REPLICAS_TICKS == 0:
                await self._count_replicas()
            await asyncio.sleep(TICK_S)

    async def _count_replicas(self) -> None:
        try:
            async with asyncio.timeout(REPLICAS_TIMEOUT_S):
                self._replicas = await self._detectors.replicas()
        except Exception as error:  # noqa: BLE001 - Serve's controller is being replaced: the last number stays
            _log.warning("the number of Detectors is unknown for now: %s", one_line(error))

    def adopt(self, status: VehicleStatus) -> None:
        """Go on with the trip of a living actor, which another Gateway opened."""
        if status.trip is None:
            return
        trip, progress = status.trip, status.progress
        self._replies[trip.vehicle] = PushReply((), progress.flagged, "resumed", part=status.part)
        for text in progress.texts:  # the answer that brought them may have been lost with the other Gateway
            self._alert(trip.vehicle, str(trip.vehicle), text)
        self._say(progress.events)
        self.intake.adopt(trip, age_s=status.age_s, frames=progress.frames, next_seq=progress.next_seq + SEQ_GAP)

    def reopen(self, vehicle: uuid.UUID) -> None:
        """Open a trip as an open_stream would: for a person, or since no actor knows of one that another Gateway took.

        Then too it is a new one: that of the other Gateway may be over, and its names used.
        """
        self.intake.message("open_stream", str(vehicle).encode())

    def has(self, vehicle: uuid.UUID) -> bool:
        """Whether a trip of the vehicle is open, or something of it is under way."""
        return vehicle in self.intake.views() or self._scheduler.knows(vehicle)

    @property
    def open_trips(self) -> set[uuid.UUID]:
        """The trips that are open."""
        return {view.trip.id for view in self.intake.views().values()}

    async def hand_over(self, patience_s: float) -> None:
        """Bring what is in the mailboxes to the actors, whose trips stay open for the next Gateway.

        Args:
            patience_s: Give up after so long: the Detectors may be going down as well.
        """
        self._handing_over = True
        for _ in range(round(patience_s / HAND_OVER_POLL_S)):
            await asyncio.sleep(HAND_OVER_POLL_S)
            if not self._scheduler.vehicles and not self._arrived:
                return
        _log.error(
            "%d vehicles could not be brought what waits for them; the next Gateway takes over",
            self._scheduler.vehicles,
        )
        for work in self._work:  # else a push of ours might come between those of the next Gateway
            work.cancel()

    async def drain(self, grace_s: float) -> int:
        """Take nothing any more, end every trip and wait for their flushes.

        Returns:
            Vehicles that were not done when the time was over: actors, or frames that no actor has had.
        """
        self.intake.stop()
        end_s = time.monotonic() + grace_s
        await asyncio.sleep(0)  # let what the intake emitted arrive
        while (left := await self._vehicles.alive()) or self._scheduler.vehicles:
            if time.monotonic() >= end_s:
                break
            await asyncio.sleep(0.2)
        return max(left, self._scheduler.vehicles)

    async def streams(self) -> list[StreamInfo]:
        """The open streams, oldest first."""
        return list(await asyncio.gather(*(self._info(view) for view in self.intake.views().values())))

    async def stream(self, vehicle: uuid.UUID) -> StreamInfo | None:
        """One of them."""
        view = self.intake.views().get(vehicle)
        return await self._info(view) if view else None

    @property
    def journal(self) -> str:
        """Whether the journals of the open trips are complete on disk: `ok`, or what is wrong with how many."""
        faults = [reply.journal for reply in self._replies.values() if reply.journal]
        return f"{faults[0]} ({len(faults)} of {len(self._replies)} open trips)" if faults else "ok"

    @property
    def batch_frames(self) -> float | None:
        """In a batch, the mean of the last `BATCHES`; None before the first."""
        return sum(self._batch_frames) / len(self._batch_frames) if self._batch_frames else None

    @property
    def waiting(self) -> tuple[int, int]:
        """Frames in all mailboxes, and their bytes."""
        return self._scheduler.waiting

    @property
    def detector_replicas(self) -> int:
        """How many Detectors were running a moment ago."""
        return self._replicas

    def check(self) -> None:
        """Find out whether the flow still moves.

        Raises:
            RuntimeError: A task of it has ended by a fault of ours.
        """
        if self._fault is not None:
            raise RuntimeError("a task of the flow has failed") from self._fault

    def _hand_on(self, item: Item) -> bool:
        """From the MQTT thread to the loop; False for a frame when the loop has stood still for too many."""
        if item.frame and len(self._arrived) >= HANDED_ON:
            return False
        self._arrived.append(item)
        if not self._called:  # once for all that come until the loop gets round to it
            self._called = True
            self._loop.call_soon_threadsafe(self._offer_arrived)
        return True

    def _offer_arrived(self) -> None:
        self._called = False  # before the look: what comes after that is told anew
        for _ in range(len(self._arrived)):
            item = self._arrived.popleft()
            with self._faults_noted():
                if item.frame is None and item.closed_by is None:
                    self._register(item.trip.vehicle)
                self._count(self._scheduler.offer(item))
        with self._faults_noted():
            self._pump()

    @contextlib.contextmanager
    def _faults_noted(self) -> Iterator[None]:
        """The loop would log it and go on, one frame short and nobody the wiser; what comes behind that is not lost."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - any is our fault
            _log.exception("taking what came failed")
            self._fault = error

    def _pump(self) -> None:
        """Start every batch and every push that may start now."""
        replicas = max(1, self._replicas)
        while (room := replicas * self._config.batches_per_replica - len(self._in_flight)) > 0:
            # Beyond one a Detector a small batch would only wait there; here it can still grow, unless that one hangs.
            busy = len(self._in_flight) >= replicas
            moved_s = max(self._answered_s, min(self._in_flight.values(), default=0.0))
            only_full = busy and time.monotonic() - moved_s < GROW_S
            batch = self._scheduler.next_batch(room, only_full=only_full)
            if batch is None:
                break
            number = next(self._batches)
            self._in_flight[number] = time.monotonic()
            frames = batch.frames
            self._batch_frames.append(len(frames))
            self._start(self._detect(number, batch, frames), f"detect {len(frames)}")
        for vehicle, push in list(self._scheduler.pushes()):
            self._start(self._push(vehicle, push), f"push {vehicle}")

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._work.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("%s failed", task.get_name(), exc_info=error)
            self._fault = error

    async def _detect(self, number: int, batch: Batch, frames: Sequence[tuple[uuid.UUID, Frame]]) -> None:
        jpegs = [frame.jpeg for _, frame in frames]
        try:
            async with asyncio.timeout(DETECT_TIMEOUT_S):
                answers = await self._detectors.detect(jpegs)
            if len(answers) != len(jpegs):
                raise ValueError(f"expected {len(jpegs)} answers of the Detector, got {len(answers)}")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - whatever it was, these frames must be tried again or counted
            if self._logged.due(type(error).__name__, time.monotonic()):
                _log.warning("detecting %d frames failed: %s", len(jpegs), one_line(error))
            await asyncio.sleep(min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** min(batch.repeats, 10)))
            if self._may_blame(error):
                self._count(self._scheduler.failed(batch, replica_died=_cost_a_detector(error)))
            else:
                self._scheduler.repeat(batch)
        else:
            for (vehicle, frame), answer in zip(frames, answers, strict=True):
                self.observed.note(vehicle, frame, answer)
            self._measure(batch, len(jpegs), self._in_flight[number])
            unreadable = self._scheduler.observed(batch, answers)
            self.counts.observed += len(jpegs) - len(unreadable)
            self._count(unreadable)
        finally:
            del self._in_flight[number]
            self._answered_s = time.monotonic()
        self._pump()

    def _measure(self, batch: Batch, frames: int, began_s: float) -> None:
        now_s = time.monotonic()
        self.counts.batch_frames.add(frames)
        self.counts.detect.add(now_s - began_s)
        observe = self.counts.observe.add
        for items in batch.items.values():
            for item in items:
                if item.frame:
                    observe(now_s - item.received_s)

    def _may_blame(self, error: Exception) -> bool:
        """Whether a Detector had the frames when it happened; else nobody took the call."""
        if isinstance(error, RayServeException):
            return False
        # A call that hangs on a Detector must not come back for ever; one that waits for a Detector must.
        return self._replicas > 0 if isinstance(error, TimeoutError) else isinstance(error, RayError | ValueError)

    async def _push(self, vehicle: uuid.UUID, push: Push) -> None:
        before = self._replies.get(vehicle)
        after_part = before.part if before else 0
        began_s = time.monotonic()
        with about(vehicle, push.trip.id):
            reply = await self._repeat(lambda: self._vehicles.push(vehicle, push, after_part), f"push to {vehicle}")
        self.counts.push.add(time.monotonic() - began_s)
        self.counts.flagged += max(0, reply.flagged - (before.flagged if before else 0))
        self._scheduler.pushed(vehicle)
        for _ in range(reply.not_kept):
            self.intake.drop(vehicle, push.trip.id, "disk_full")
        for _ in range(reply.not_taken):
            self.intake.drop(vehicle, push.trip.id, "not_open")
        if reply.not_taken and not push.closed_by:
            self.intake.begin_again(push.trip)
        if push.closed_by:
            self._replies.pop(vehicle, None)
            self._pushed.pop(vehicle, None)
            self._notes.closed(push.trip)
        else:
            self._replies[vehicle] = reply
            self._pushed[vehicle] = push.trip, time.monotonic()
        for text in reply.alerts:
            self._alert(vehicle, push.text, text)
        if push.text:
            self._spelled[vehicle] = push.text
        self._say(reply.events)
        if push.closed_by:
            self._spelled.pop(vehicle, None)
        self._pump()

    def _alert(self, vehicle: uuid.UUID, as_written: str, text: str) -> None:
        if self._alerts.due((vehicle, text), time.monotonic()):
            self._broker.publish(f"alert/{as_written}", text)
            self.counts.alerts[text] += 1

    def _say(self, events: Sequence[EventRecord]) -> None:
        """Publish them; the same may come again, under the same id."""
        for event in events:
            as_written = self._spelled.get(event.vehicle, str(event.vehicle))
            self._broker.publish(f"event/{as_written}", json.dumps(event_message(event)))
            self.counts.events[event.kind] += event.ended_ms is not None

    async def _repeat(self, call: Callable[[], Awaitable[PushReply]], what: str) -> PushReply:
        """Call until it is answered: an accepted frame or an end of a trip is never given up."""
        pause_s = FIRST_RETRY_S
        while True:
            try:
                return await call()
            except Exception as error:  # noqa: BLE001 - the actor may be dying, starting or unreachable; all pass
                level = logging.INFO if isinstance(error, RayActorError) else logging.WARNING
                _log.log(level, "%s is repeated: %s", what, one_line(error))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_RETRY_S)

    def _send_heartbeats(self) -> None:
        now_s = time.monotonic()
        # Past the frames that wait for detection: while no Detector runs, the actor must not think itself orphaned.
        for trip, pushed_s in self._pushed.values():
            if now_s - pushed_s >= HEARTBEAT_S:
                self._scheduler.beat(trip)

    def _count(self, dropped: list[Dropped]) -> None:
        for one in dropped:
            self.intake.drop(one.trip.vehicle, one.trip.id, one.reason)
            if one.reason == "crashed":
                self._start(asyncio.to_thread(self._keep_crashed, one), f"keep {one.trip.id}-{one.frame.seq}")

    async def _info(self, view: StreamView) -> StreamInfo:
        vehicle = view.trip.vehicle
        status = await self._vehicles.status(vehicle)
        reply = self._replies.get(vehicle)
        return StreamInfo(
            trip=view.trip,
            frames=view.frames,
            flagged=reply.flagged if reply else 0,
            dropped=view.dropped,
            backlog=self._scheduler.backlog(vehicle),
            driver_state=reply.driver_state if reply else "starting",
            node=status.node if status else None,
            pid=status.pid if status else None,
            events=status.events if status else (),
            limits=status.limits if status else None,
        )


def _cost_a_detector(error: Exception) -> bool:
    """Whether the Detector that had the frames is gone, by its own fault or killed for its memory, or hangs."""
    lost = isinstance(error, RayActorError | OutOfMemoryError | NodeDiedError | TimeoutError)
    return lost and not isinstance(error, ActorUnavailableError)
