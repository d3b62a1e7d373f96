"""More than can be looked at: who gets how much, and what is held at most (docs/adr/0018)."""

from __future__ import annotations

import functools
import math
import uuid
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from models.types import Observation, Unreadable
from serve_app.scheduler import MAILBOX_BYTES, PUSH_BYTES, PUSH_FRAMES, Batch, Dropped, Item, Scheduler
from tests.builders import frame, trip, vehicle_id

A = vehicle_id(1)
MB = 2**20
SEEN = Observation()


def scheduler(*, mailbox_frames: int = 150, max_batch_size: int = 16, mailbox_bytes: int = MAILBOX_BYTES) -> Scheduler:
    return Scheduler(mailbox_frames=mailbox_frames, max_batch_size=max_batch_size, mailbox_bytes=mailbox_bytes)


zeros = functools.cache(bytes)
"""So many bytes; made once, since megabytes take their time."""


def item(seq: int, size_bytes: int, *, vehicle: int = 1) -> Item:
    """A frame of so many bytes."""
    return Item(trip(vehicle), frame(seq, data=zeros(size_bytes)))


def offer(to: Scheduler, items: Iterable[Item]) -> list[int]:
    """Frames dropped for them, by `seq`, in order."""
    return [dropped.frame.seq for one in items for dropped in to.offer(one)]


def look(at: Scheduler) -> Counter[uuid.UUID]:
    """One batch through the Detector and on to the actors; how many frames of whom."""
    batch = at.next_batch()
    assert batch is not None
    assert at.observed(batch, [SEEN] * len(batch.jpegs)) == []
    for vehicle, _ in list(at.pushes()):
        at.pushed(vehicle)
    return Counter({vehicle: len(items) for vehicle, items in batch.items.items()})


@pytest.mark.parametrize("modest", [1, 3, 15, 40])
def test_who_floods_gets_what_the_modest_leave(modest: int) -> None:
    s = scheduler(max_batch_size=16)
    others = range(2, 2 + modest)
    batches = math.ceil((modest + 1) / 16)  # as many as hold one frame of everybody
    for seq in range(20):
        dropped = [one for n in range(100) for one in s.offer(item(100 * seq + n, 9))]
        dropped += [one for vehicle in others for one in s.offer(item(seq, 9, vehicle=vehicle))]
        assert {one.trip.vehicle for one in dropped} <= {A}
        shares = sum((look(s) for _ in range(batches)), Counter[uuid.UUID]())
        assert shares == Counter({A: 16 * batches - modest, **{vehicle_id(vehicle): 1 for vehicle in others}})


def test_a_mailbox_of_big_frames_is_full_by_its_bytes() -> None:
    s = scheduler()
    assert offer(s, [item(seq, MB) for seq in range(20)]) == [0, 1, 2, 3]
    assert s.backlog(A) == MAILBOX_BYTES // MB
    assert offer(s, [item(0, MB, vehicle=2)]) == [], "each vehicle has its own"


def test_frames_of_an_ordinary_camera_are_counted_and_not_weighed() -> None:
    s = scheduler()
    assert offer(s, [item(seq, 110_000) for seq in range(150)]) == []
    assert offer(s, [item(150, 110_000)]) == [0]


def test_several_small_ones_go_for_one_big_one_the_oldest_first_and_no_more_than_must() -> None:
    s = scheduler(mailbox_bytes=100)
    assert offer(s, [item(seq, 10) for seq in range(10)]) == []
    assert offer(s, [item(10, 35)]) == [0, 1, 2, 3]
    assert s.backlog(A) == 7
    assert offer(s, [item(11, 5)]) == []


def test_a_frame_that_is_bigger_than_a_mailbox_waits_alone() -> None:
    s = scheduler(mailbox_bytes=100)
    assert offer(s, [item(0, 10), item(1, 500), item(2, 10)]) == [0, 1]
    assert offer(s, [item(3, 500)]) == [2]
    assert look(s) == {A: 1}


def test_starts_and_ends_weigh_nothing_and_are_never_dropped() -> None:
    s = scheduler(mailbox_bytes=100, mailbox_frames=2)
    for number in range(1, 4):
        of = trip(1, number=number)
        dropped = [*s.offer(Item(of)), *s.offer(Item(of, frame(0, data=bytes(90)))), *s.offer(Item(of, frame(1)))]
        dropped += s.offer(Item(of, closed_by="device"))
        assert all(one.reason == "mailbox_full" for one in dropped)
    ends = []
    while s.vehicles:
        for vehicle, push in list(s.pushes()):
            ends += [push.trip] if push.closed_by else []
            s.pushed(vehicle)
        if batch := s.next_batch():
            s.observed(batch, [SEEN] * len(batch.jpegs))
    assert ends == [trip(1, number=number) for number in range(1, 4)]


@pytest.mark.parametrize(
    ("size_bytes", "taken"), [(9, PUSH_FRAMES), (40_000, PUSH_FRAMES), (MB, PUSH_BYTES // MB), (3 * MB, 2)]
)
def test_a_vehicle_whose_actor_does_not_answer_has_one_push_ready_and_the_rest_in_its_mailbox(
    size_bytes: int, taken: int
) -> None:
    s = scheduler()
    s.offer(Item(trip(1)))
    assert len(list(s.pushes())) == 1, "and it is not answered"
    frames = 0
    for seq in range(200):
        s.offer(item(seq, size_bytes))
        while batch := s.next_batch():
            frames += len(batch.jpegs)
            s.observed(batch, [SEEN] * len(batch.jpegs))
    assert frames == taken
    s.pushed(A)
    [(_, push)] = s.pushes()
    assert len(push.frames) == taken
    assert s.next_batch(), "and there is room again"


class Tallies(RuleBasedStateMachine):
    """Whatever happens: the scheduler knows how many frames and bytes are where, and they are bounded."""

    MAILBOX_FRAMES, MAILBOX_BYTES, BATCH = 8, 12 * MB, 6

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(
            mailbox_frames=self.MAILBOX_FRAMES, max_batch_size=self.BATCH, mailbox_bytes=self.MAILBOX_BYTES
        )
        self.batches: list[Batch] = []
        self.pushing: list[uuid.UUID] = []
        self.seq = 0
        self.held = 0  # frames offered that have neither been dropped nor pushed

    def gone(self, dropped: list[Dropped]) -> None:
        """Frames that the scheduler has given up."""
        self.held -= len(dropped)

    @rule(vehicle=st.integers(1, 3), size_bytes=st.sampled_from([1, 100, MB, 3 * MB, 13 * MB]), n=st.integers(1, 12))
    def frames(self, vehicle: int, size_bytes: int, n: int) -> None:
        """Some frames come."""
        for _ in range(n):
            self.seq += 1
            self.held += 1
            self.gone(self.scheduler.offer(item(self.seq, size_bytes, vehicle=vehicle)))
            mailbox = self.scheduler._lanes[vehicle_id(vehicle)].mailbox  # noqa: SLF001
            assert 1 <= mailbox.frames <= self.MAILBOX_FRAMES
            assert mailbox.bytes <= self.MAILBOX_BYTES or mailbox.frames == 1

    @rule(vehicle=st.integers(1, 3), closes=st.booleans())
    def control(self, vehicle: int, closes: bool) -> None:  # noqa: FBT001 - hypothesis calls by name
        """A trip begins or ends."""
        assert self.scheduler.offer(Item(trip(vehicle), closed_by="device" if closes else None)) == []

    @rule()
    def take(self) -> None:
        """A batch goes out."""
        if batch := self.scheduler.next_batch():
            self.batches.append(batch)

    @rule(data=st.data(), how=st.sampled_from(["seen", "unreadable", "died", "failed", "repeat"]))
    def answer(self, data: st.DataObject, how: str) -> None:
        """A batch comes back in one way or another."""
        if not self.batches:
            return
        batch = self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1)))
        if how == "repeat":
            self.scheduler.repeat(batch)
        elif how in {"died", "failed"}:
            self.gone(self.scheduler.failed(batch, replica_died=how == "died"))
        else:
            answers: list[Observation | Unreadable] = [SEEN] * len(batch.jpegs)
            if how == "unreadable":
                answers[data.draw(st.integers(0, len(answers) - 1))] = Unreadable("cut")
            self.gone(self.scheduler.observed(batch, answers))

    @rule(times=st.integers(1, 12))
    def deaths(self, times: int) -> None:
        """The Detector dies of whatever it gets, time after time: batches are halved, lone frames dropped."""
        for _ in range(times):
            self.take()
            while self.batches:
                self.gone(self.scheduler.failed(self.batches.pop(), replica_died=True))

    @rule()
    def push(self) -> None:
        """All pushes go out that can."""
        for vehicle, push in self.scheduler.pushes():
            sizes = [len(seen.frame.jpeg) for seen in push.frames]
            assert len(sizes) <= PUSH_FRAMES
            assert sum(sizes[:-1]) < PUSH_BYTES
            self.held -= len(sizes)
            self.pushing.append(vehicle)

    @rule()
    def pushed(self) -> None:
        """A push is answered."""
        if self.pushing:
            self.scheduler.pushed(self.pushing.pop(0))

    @invariant()
    def tallies_are_sums(self) -> None:
        """Counted one by one, it comes to the same, and to no more than there may be."""
        out: dict[uuid.UUID, list[Item]] = {}
        for batch in [*self.batches, *self.scheduler._retries]:  # noqa: SLF001 - its memory is the story
            for vehicle, items in batch.items.items():
                assert vehicle not in out, "a vehicle is in one batch at a time"
                out[vehicle] = items
        held = 0
        for vehicle, lane in self.scheduler._lanes.items():  # noqa: SLF001
            waiting = [len(one.frame.jpeg) for one in lane.waiting if one.frame]
            ahead = [len(one.frame.jpeg) for one in out.get(vehicle, []) if one.frame]
            ahead += [len(one.frame.jpeg) for one, _ in lane.ready if one.frame]
            assert (lane.mailbox.frames, lane.mailbox.bytes) == (len(waiting), sum(waiting))
            assert (lane.ahead.frames, lane.ahead.bytes) == (len(ahead), sum(ahead))
            assert self.scheduler.backlog(vehicle) == len(waiting)
            assert len(ahead) <= PUSH_FRAMES
            assert sum(ahead) < PUSH_BYTES + max(ahead, default=0)
            held += len(waiting) + len(ahead)
        assert held == self.held, "no frame is forgotten, none is twice"


TestTallies = Tallies.TestCase
TestTallies.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
