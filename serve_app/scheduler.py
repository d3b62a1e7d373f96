"""Which frames are detected next and which results go to which vehicle: fair, bounded, in order. Plain data, no I/O."""

from __future__ import annotations

import math
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from actors.vehicle import SeenFrame
from models.types import ClosedBy, DropReason, Frame, Observation, Trip, Unreadable

MAILBOX_BYTES = 16 * 2**20
"""Bytes that may wait in one vehicle's mailbox: 150 frames of 110 KB, three times the biggest of an ordinary camera.
Without it 200 vehicles with 150 frames of 1 MiB each hold 30 GB."""
ALL_MAILBOXES_BYTES = 2 * 2**30
"""Bytes that may wait in all mailboxes together; beyond, the fullest one gives. Those of trips that have ended count
too, whose vehicles MAX_VEHICLES does not hold any more."""
PUSH_FRAMES = 32
"""Frames of a vehicle that may be out of its mailbox and not yet on their way to its actor: in a batch, or ready for a
push, which takes all that is ready. So a slow actor fills its own mailbox only, and a push has as many at most."""
PUSH_BYTES = 4 * 2**20
"""The same in bytes, one frame more at most; what an ordinary camera sends stays below it at `PUSH_FRAMES`."""
DEATHS_ALLOWED = 2
"""Replicas that may die of a batch before it is halved, or of a lone frame before it is dropped."""
FAILURES_ALLOWED = 5
"""The same for failures that the replica survived."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing of a trip, in order: its start (neither frame nor end), a frame, or its end.

    Args:
        trip: It belongs to this trip.
        frame: The frame, if it is one.
        closed_by: Who ended the trip, if it is the end.
        text: The UUID as the device wrote it in the frame's topic.
        received_s: Monotonic clock when the frame came.
    """

    trip: Trip
    frame: Frame | None = None
    closed_by: ClosedBy | None = None
    text: str = ""
    received_s: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A frame given up on purpose."""

    trip: Trip
    frame: Frame
    reason: DropReason


@dataclass(slots=True)
class Batch:
    """Frames of many vehicles on their way through a Detector; each vehicle's items in order.

    Args:
        items: By vehicle.
        deaths: Replicas that died of it.
        failures: Answers that it cost, deaths included.
        repeats: Times that it came back, whoever was to blame.
    """

    items: dict[uuid.UUID, list[Item]]
    deaths: int = 0
    failures: int = 0
    repeats: int = 0

    @property
    def jpegs(self) -> list[bytes]:
        """The frames as the Detector takes them; `Scheduler.observed` wants its answers in the same order."""
        return [frame.jpeg for _, frame in self.frames]

    @property
    def frames(self) -> list[tuple[uuid.UUID, Frame]]:
        """The same, whole, and whose they are."""
        return [(vehicle, item.frame) for vehicle, items in self.items.items() for item in items if item.frame]


@dataclass(frozen=True, slots=True)
class Push:
    """What goes to a vehicle's actor in one call; `text` is the UUID as the device wrote it with the last frame."""

    trip: Trip
    frames: tuple[SeenFrame, ...]
    closed_by: ClosedBy | None
    text: str


@dataclass(slots=True)
class _Tally:
    """How many frames are somewhere, and their bytes; starts and ends count nothing. `whole` counts with it."""

    frames: int = 0
    bytes: int = 0
    whole: _Tally | None = None

    def add(self, item: Item) -> None:
        if item.frame:
            self._change(1, len(item.frame.jpeg))

    def remove(self, item: Item) -> None:
        if item.frame:
            self._change(-1, -len(item.frame.jpeg))

    def _change(self, frames: int, size: int) -> None:
        self.frames += frames
        self.bytes += size
        if self.whole:
            self.whole._change(frames, size)  # noqa: SLF001 - one of its kind


@dataclass(slots=True)
class _Lane:
    """One vehicle: waiting (the mailbox) -> detecting -> ready -> pushing, each in order.

    Its frames are bounded everywhere, whatever its actor does: `mailbox` by the scheduler's limits, `ahead` exactly by
    `PUSH_FRAMES` and, but for one frame, `PUSH_BYTES`, since each frame is taken only while there is room for it (not
    one batch more), and the push under way was `ahead` before it went.
    """

    waiting: deque[Item] = field(default_factory=deque)
    mailbox: _Tally = field(default_factory=_Tally)  # of what is waiting
    ahead: _Tally = field(default_factory=_Tally)  # of what is detecting or ready
    detecting: bool = False
    ready: deque[tuple[Item, Observation | None]] = field(default_factory=deque)
    pushing: bool = False

    @property
    def empty(self) -> bool:
        return not (self.waiting or self.detecting or self.ready or self.pushing)


class Scheduler:
    """Mailboxes, batches and pushes of all vehicles; used from one thread.

    Args:
        mailbox_frames: Frames that may wait in one vehicle's mailbox.
        max_batch_size: Frames in one batch.
        mailbox_bytes: Bytes that may wait in one vehicle's mailbox; a lone frame may have more.
        all_mailboxes_bytes: Bytes that may wait in all of them.
    """

    def __init__(
        self,
        *,
        mailbox_frames: int,
        max_batch_size: int,
        mailbox_bytes: int = MAILBOX_BYTES,
        all_mailboxes_bytes: int = ALL_MAILBOXES_BYTES,
    ) -> None:
        self._mailbox_frames = mailbox_frames
        self._mailbox_bytes = mailbox_bytes
        self._all_mailboxes_bytes = all_mailboxes_bytes
        self._max_batch_size = max_batch_size
        self._mailboxes = _Tally()
        self._lanes: dict[uuid.UUID, _Lane] = {}
        self._turn: deque[uuid.UUID] = deque()  # who is served first in the next batch
        self._retries: deque[Batch] = deque()
        self._out = 0  # batches under way
        self._alone = False  # the one under way has failed before

    def offer(self, item: Item) -> list[Dropped]:
        """Put an item into its vehicle's mailbox.

        Returns:
            The oldest waiting frames when the mailbox was full, several for a big one; starts and ends of trips are
            never dropped.
        """
        vehicle = item.trip.vehicle
        lane = self._lanes.get(vehicle)
        if lane is None:
            lane = self._lanes[vehicle] = _Lane(mailbox=_Tally(whole=self._mailboxes))
            self._turn.append(vehicle)
        lane.waiting.append(item)
        lane.mailbox.add(item)
        dropped: list[Dropped] = []
        if item.frame:  # only a frame makes it fuller; what a halved batch put back beyond the limits goes here too
            while self._too_full(lane.mailbox):
                dropped.append(_drop_oldest(lane))
            while self._mailboxes.bytes > self._all_mailboxes_bytes:
                fullest = max(self._lanes.values(), key=lambda lane: lane.mailbox.bytes)
                dropped.append(_drop_oldest(fullest))
                self._promote(fullest)
        self._promote(lane)
        return dropped

    def next_batch(self, room: int = 1, *, only_full: bool = False) -> Batch | None:
        """The frames to detect next, of each vehicle in turn as many as are its share, until the batch is full.

        A vehicle is in at most one batch at a time, so its order holds. Its share is of all the batches that may start
        now: few vehicles do not crowd into one while the Detector waits for the next. A batch that failed comes back
        first and alone: a frame that kills a replica takes every batch there with it, and those may not be blamed
        for it.

        Args:
            room: Batches that may start now, this one included.
            only_full: None as well while there are not enough frames to fill it (big ones may leave it less full).
        """
        if self._alone or (self._retries and self._out):
            return None
        if self._retries:
            self._alone = True
            self._out += 1
            return self._retries.popleft()
        able = [v for v in self._turn if self._may_detect(self._lanes[v])]
        if only_full and sum(_takeable(self._lanes[v]) for v in able) < self._max_batch_size:
            return None
        items: dict[uuid.UUID, list[Item]] = {}
        taken = 0
        share = math.ceil(self._max_batch_size * room / max(1, len(able)))
        while able and taken < self._max_batch_size:
            for vehicle in able:
                lane = self._lanes[vehicle]
                for _ in range(min(share, self._max_batch_size - taken)):
                    if not self._may_detect(lane):
                        break
                    items.setdefault(vehicle, []).extend(self._take_frame(lane))
                    taken += 1
            able = [v for v in able if self._may_detect(self._lanes[v])]
        if not items:
            return None
        for vehicle in items:
            self._lanes[vehicle].detecting = True
            self._turn.remove(vehicle)
            self._turn.append(vehicle)
        self._out += 1
        return Batch(items)

    def observed(self, batch: Batch, answers: Sequence[Observation | Unreadable]) -> list[Dropped]:
        """Take the Detector's answers, in the order of `Batch.jpegs`; returns the frames it could not read."""
        self._back()
        answer = iter(answers)
        dropped: list[Dropped] = []
        for vehicle, items in batch.items.items():
            lane = self._lanes[vehicle]
            for item in items:
                if item.frame is None:
                    lane.ready.append((item, None))
                elif isinstance(said := next(answer), Observation):
                    lane.ready.append((item, said))
                else:
                    lane.ahead.remove(item)
                    dropped.append(Dropped(item.trip, item.frame, "unreadable"))
            lane.detecting = False
            self._promote(lane)
            self._tidy(vehicle)
        return dropped

    def repeat(self, batch: Batch) -> None:
        """The batch got no answers, and no frame of it can be to blame: nobody took the call."""
        self._back()
        batch.repeats += 1
        self._retries.append(batch)

    def failed(self, batch: Batch, *, replica_died: bool) -> list[Dropped]:
        """The batch got no answers: it is repeated, halved, or, when a lone frame is to blame, that frame dropped."""
        self._back()
        batch.deaths += replica_died
        batch.failures += 1
        batch.repeats += 1
        if batch.deaths < DEATHS_ALLOWED and batch.failures < FAILURES_ALLOWED:
            self._retries.append(batch)
            return []
        frames = len(batch.jpegs)
        if frames == 1:
            return self._give_up(batch)
        self._retries.append(self._halve(batch, frames // 2))
        return []

    def pushes(self) -> Iterator[tuple[uuid.UUID, Push]]:
        """What can go to the actors now: one push of each vehicle that has something ready and none under way."""
        for vehicle, lane in self._lanes.items():
            if lane.ready and not lane.pushing:
                lane.pushing = True
                yield vehicle, _take_push(lane)

    def pushed(self, vehicle: uuid.UUID) -> None:
        """The vehicle's push was answered."""
        self._lanes[vehicle].pushing = False
        self._tidy(vehicle)

    def beat(self, trip: Trip) -> None:
        """Push to the vehicle without a frame, past all that waits; the trip must be the one it was last pushed."""
        lane = self._lanes.get(trip.vehicle)
        if lane is None:
            self.offer(Item(trip))
        elif not lane.ready and not lane.pushing:
            lane.ready.append((Item(trip), None))

    def backlog(self, vehicle: uuid.UUID) -> int:
        """Frames in the vehicle's mailbox."""
        lane = self._lanes.get(vehicle)
        return lane.mailbox.frames if lane else 0

    @property
    def waiting(self) -> tuple[int, int]:
        """Frames in all mailboxes, and their bytes."""
        return self._mailboxes.frames, self._mailboxes.bytes

    def knows(self, vehicle: uuid.UUID) -> bool:
        """Whether something of the vehicle is under way."""
        return vehicle in self._lanes

    @property
    def vehicles(self) -> int:
        """Of how many vehicles something is still under way."""
        return len(self._lanes)

    def _give_up(self, batch: Batch) -> list[Dropped]:
        """Give up the frames of a batch."""
        for vehicle, items in batch.items.items():
            lane = self._lanes[vehicle]
            for item in items:
                lane.ahead.remove(item)
            lane.ready.extend((item, None) for item in items if item.frame is None)
            lane.detecting = False
            self._promote(lane)
            self._tidy(vehicle)
        return [Dropped(i.trip, i.frame, "crashed") for items in batch.items.values() for i in items if i.frame]

    def _back(self) -> None:
        self._out -= 1
        self._alone = False

    def _tidy(self, vehicle: uuid.UUID) -> None:
        if self._lanes[vehicle].empty:
            del self._lanes[vehicle]
            self._turn.remove(vehicle)

    def _too_full(self, mailbox: _Tally) -> bool:
        return mailbox.frames > self._mailbox_frames or (mailbox.bytes > self._mailbox_bytes and mailbox.frames > 1)

    def _may_detect(self, lane: _Lane) -> bool:
        room = lane.ahead.frames < PUSH_FRAMES and lane.ahead.bytes < PUSH_BYTES
        return lane.mailbox.frames > 0 and not lane.detecting and room

    def _take_frame(self, lane: _Lane) -> Iterator[Item]:
        """The next frame of a lane, with the starts and ends before it."""
        while True:
            item = lane.waiting.popleft()
            lane.mailbox.remove(item)
            lane.ahead.add(item)
            yield item
            if item.frame:
                return

    def _promote(self, lane: _Lane) -> None:
        """Starts and ends need no detection: let them pass as soon as no frame is before them."""
        while lane.waiting and lane.waiting[0].frame is None and not lane.detecting:
            lane.ready.append((lane.waiting.popleft(), None))

    def _halve(self, batch: Batch, keep: int) -> Batch:
        """The first `keep` frames as a batch; the others go back to the front of their mailboxes."""
        kept: dict[uuid.UUID, list[Item]] = {}
        for vehicle, items in batch.items.items():
            lane = self._lanes[vehicle]
            cut = 0
            while cut < len(items) and keep > 0:
                keep -= items[cut].frame is not None
                cut += 1
            for item in reversed(items[cut:]):
                lane.waiting.appendleft(item)
                lane.ahead.remove(item)
                lane.mailbox.add(item)
            lane.detecting = cut > 0
            if cut:
                kept[vehicle] = items[:cut]
            else:
                self._promote(lane)
        lone = sum(item.frame is not None for items in kept.values() for item in items) == 1
        # A lone frame is blamed only for what it does alone; a smaller crowd that kills once more is halved at once.
        return Batch(kept, deaths=0 if lone else DEATHS_ALLOWED - 1, failures=0 if lone else FAILURES_ALLOWED - 1)


def _takeable(lane: _Lane) -> int:
    return min(lane.mailbox.frames, PUSH_FRAMES - lane.ahead.frames)


def _drop_oldest(lane: _Lane) -> Dropped:
    """The first frame that waits, out of the mailbox; there is one."""
    at, item = next((at, item) for at, item in enumerate(lane.waiting) if item.frame)
    del lane.waiting[at]
    lane.mailbox.remove(item)
    assert item.frame is not None  # noqa: S101 - by the search above
    return Dropped(item.trip, item.frame, "mailbox_full")


def _take_push(lane: _Lane) -> Push:
    """The ready items of one trip, up to its end."""
    trip = lane.ready[0][0].trip
    frames: list[SeenFrame] = []
    text = ""
    closed_by: ClosedBy | None = None
    while not closed_by and lane.ready and lane.ready[0][0].trip.id == trip.id:
        item, observation = lane.ready.popleft()
        lane.ahead.remove(item)
        if item.frame and observation:
            frames.append(SeenFrame(item.frame, observation))
            text = item.text
        closed_by = item.closed_by
    return Push(trip, tuple(frames), closed_by, text)
