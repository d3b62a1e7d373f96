"""Mailboxes, batches and pushes: fair, bounded, in order, and nothing lost but what is said to be."""

from __future__ import annotations

import random
import uuid
from collections import defaultdict
from collections.abc import Iterable

import pytest

from models.types import Observation, Trip, Unreadable
from serve_app.scheduler import (
    DEATHS_ALLOWED,
    FAILURES_ALLOWED,
    PUSH_FRAMES,
    Batch,
    Dropped,
    Item,
    Push,
    Scheduler,
)
from tests.builders import frame, observation, trip, vehicle_id

A, B, C = (vehicle_id(number) for number in (1, 2, 3))
SEEN = Observation()


def scheduler(*, mailbox_frames: int = 150, max_batch_size: int = 8) -> Scheduler:
    return Scheduler(mailbox_frames=mailbox_frames, max_batch_size=max_batch_size)


def item(vehicle: int, seq: int, *, number: int = 1) -> Item:
    """Frame `seq` of trip `number` of a vehicle; its bytes name it."""
    of = trip(vehicle, number=number)
    return Item(of, frame(seq, data=f"{vehicle}/{number}/{seq}".encode()), text=f"as written {seq}")


def start(vehicle: int, *, number: int = 1) -> Item:
    return Item(trip(vehicle, number=number))


def end(vehicle: int, *, number: int = 1) -> Item:
    return Item(trip(vehicle, number=number), closed_by="device")


def offer(to: Scheduler, items: Iterable[Item]) -> list[Dropped]:
    return [dropped for one in items for dropped in to.offer(one)]


def some_batch(of: Scheduler) -> Batch:
    batch = of.next_batch()
    assert batch is not None
    return batch


def seqs(batch: Batch) -> dict[uuid.UUID, list[int]]:
    return {vehicle: [one.frame.seq for one in items if one.frame] for vehicle, items in batch.items.items()}


def observe(of: Scheduler, batch: Batch) -> None:
    assert of.observed(batch, [SEEN] * len(batch.jpegs)) == []


def finish(of: Scheduler) -> list[Push]:
    """Detect and push whatever there is, one batch and one push after the other."""
    done: list[Push] = []
    while True:
        pushes = list(of.pushes())
        for vehicle, push in pushes:
            done.append(push)
            of.pushed(vehicle)
        batch = of.next_batch()
        if batch is not None:
            observe(of, batch)
        elif not pushes:
            return done


def told(pushes: Iterable[Push]) -> list[tuple[Trip, object]]:
    """What an actor hears, frame by frame, with starts and ends."""
    heard: list[tuple[Trip, object]] = []
    for push in pushes:
        if not push.frames and not push.closed_by:
            heard.append((push.trip, "start"))
        heard.extend((push.trip, seen.frame.seq) for seen in push.frames)
        if push.closed_by:
            heard.append((push.trip, push.closed_by))
    return heard


def test_an_idle_system_sends_one_frame_at_once() -> None:
    s = scheduler()
    s.offer(item(1, 0))
    assert seqs(some_batch(s)) == {A: [0]}
    assert s.next_batch() is None


def test_a_flood_from_one_vehicle_leaves_the_others_their_share() -> None:
    s = scheduler(max_batch_size=9)
    offer(s, [item(1, seq) for seq in range(100)])
    offer(s, [item(vehicle, seq) for vehicle in (2, 3) for seq in range(10)])
    assert seqs(some_batch(s)) == {A: [0, 1, 2], B: [0, 1, 2], C: [0, 1, 2]}


def test_a_vehicle_with_little_leaves_the_rest_to_the_others() -> None:
    s = scheduler(max_batch_size=8)
    offer(s, [item(1, seq) for seq in range(100)])
    offer(s, [item(2, 0), item(3, 0), item(3, 1)])
    assert seqs(some_batch(s)) == {A: [0, 1, 2, 3, 4], B: [0], C: [0, 1]}


def test_small_batches_go_round() -> None:
    s = scheduler(max_batch_size=2)
    offer(s, [item(vehicle, seq) for vehicle in (1, 2, 3) for seq in range(50)])
    served: dict[uuid.UUID, int] = defaultdict(int)
    for _ in range(30):
        batch = some_batch(s)
        observe(s, batch)
        for vehicle, taken in seqs(batch).items():
            served[vehicle] += len(taken)
        for vehicle, _push in s.pushes():
            s.pushed(vehicle)
    assert served == {A: 20, B: 20, C: 20}


def test_few_vehicles_do_not_crowd_into_one_of_several_batches() -> None:
    s = scheduler(max_batch_size=8)
    offer(s, [item(vehicle, seq) for vehicle in range(1, 9) for seq in range(20)])
    batches = [batch for room in (3, 2, 1) if (batch := s.next_batch(room))]
    assert [len(batch.jpegs) for batch in batches] == [8, 8, 8]
    observe(s, batches[0])
    assert s.next_batch() is not None, "others wait while two batches are out"


def test_a_batch_that_must_be_full_waits_for_its_frames() -> None:
    s = scheduler(max_batch_size=4)
    offer(s, [item(1, 0), item(1, 1), item(2, 0)])
    assert s.next_batch(only_full=True) is None
    offer(s, [item(3, 0)])
    batch = s.next_batch(only_full=True)
    assert batch is not None and len(batch.jpegs) == 4


def test_frames_that_may_not_be_taken_yet_fill_no_batch() -> None:
    s = scheduler(max_batch_size=PUSH_FRAMES - 2)
    offer(s, [item(1, seq) for seq in range(100)])
    observe(s, some_batch(s))  # and nobody pushes them
    assert s.next_batch(only_full=True) is None
    assert len(some_batch(s).jpegs) == 2


def test_a_vehicle_is_in_one_batch_at_a_time() -> None:
    s = scheduler(max_batch_size=4)
    offer(s, [item(1, seq) for seq in range(10)])
    first = some_batch(s)
    assert s.next_batch() is None
    s.offer(item(2, 0))
    second = some_batch(s)
    assert (seqs(first), seqs(second)) == ({A: [0, 1, 2, 3]}, {B: [0]})
    observe(s, second)
    assert s.next_batch() is None, "the first is still out"
    observe(s, first)
    assert seqs(some_batch(s)) == {A: [4, 5, 6, 7]}


def test_order_holds_over_trips_in_one_mailbox() -> None:
    s = scheduler()
    offer(s, [start(1), item(1, 0), item(1, 1), end(1), start(1, number=2), item(1, 0, number=2), end(1, number=2)])
    first, second = trip(1), trip(1, number=2)
    heard = told(finish(s))
    assert [one for one in heard if one[1] != "start"] == [
        (first, 0),
        (first, 1),
        (first, "device"),
        (second, 0),
        (second, "device"),
    ]
    assert not s.vehicles


def test_a_start_goes_ahead_so_that_the_actor_starts_while_frames_are_detected() -> None:
    s = scheduler()
    offer(s, [start(1), item(1, 0)])
    assert list(s.pushes()) == [(A, Push(trip(1), (), None, ""))]
    assert list(s.pushes()) == [], "one push of a vehicle at a time"
    observe(s, some_batch(s))
    assert list(s.pushes()) == []
    s.pushed(A)
    [(_, push)] = s.pushes()
    assert [seen.frame.seq for seen in push.frames] == [0]


def test_an_end_waits_for_the_frames_before_it() -> None:
    s = scheduler()
    offer(s, [item(1, 0), end(1)])
    assert list(s.pushes()) == []
    batch = some_batch(s)
    assert list(s.pushes()) == []
    observe(s, batch)
    [(_, push)] = s.pushes()
    assert ([seen.frame.seq for seen in push.frames], push.closed_by) == ([0], "device")


def test_an_end_that_comes_while_frames_are_detected_waits_too() -> None:
    s = scheduler()
    s.offer(item(1, 0))
    batch = some_batch(s)
    s.offer(end(1))
    assert list(s.pushes()) == []
    observe(s, batch)
    [(_, push)] = s.pushes()
    assert push.closed_by == "device"


def test_a_full_mailbox_drops_its_oldest_frame() -> None:
    s = scheduler(mailbox_frames=3)
    dropped = offer(s, [item(1, seq) for seq in range(5)] + [item(2, 0)])
    assert [(one.trip, one.frame.seq, one.reason) for one in dropped] == [
        (trip(1), 0, "mailbox_full"),
        (trip(1), 1, "mailbox_full"),
    ]
    assert s.backlog(A) == 3
    assert s.backlog(B) == 1
    assert s.backlog(C) == 0
    assert {heard for heard in told(finish(s)) if heard[0] == trip(1)} == {(trip(1), seq) for seq in (2, 3, 4)}
    assert not s.vehicles


def test_a_full_mailbox_never_drops_a_start_or_an_end() -> None:
    s = scheduler(mailbox_frames=2)
    items = [piece for n in range(1, 6) for piece in (start(1, number=n), item(1, 0, number=n), end(1, number=n))]
    dropped = offer(s, items)
    assert [one.trip for one in dropped] == [trip(1, number=n) for n in (1, 2, 3)]
    heard = [one for one in told(finish(s)) if one[1] != "start"]
    expected = [(trip(1, number=n), "device") for n in range(1, 4)]
    for n in (4, 5):
        expected += [(trip(1, number=n), 0), (trip(1, number=n), "device")]  # type: ignore[list-item]
    assert heard == expected
    assert not s.vehicles


def test_an_end_does_not_wait_for_a_detector_once_the_frames_before_it_are_dropped() -> None:
    s = scheduler(mailbox_frames=1)
    assert offer(s, [item(1, 0), end(1), item(1, 0, number=2)])[0].frame.seq == 0
    [(_, push)] = s.pushes()
    assert (push.trip, push.closed_by) == (trip(1), "device")


def test_the_text_of_a_push_is_that_of_its_last_frame() -> None:
    s = scheduler()
    offer(s, [start(1), item(1, 0), item(1, 1)])
    s.pushed(next(iter(s.pushes()))[0])
    observe(s, some_batch(s))
    [(_, push)] = s.pushes()
    assert push.text == "as written 1"


def test_a_batch_that_failed_is_repeated_with_the_same_frames() -> None:
    s = scheduler()
    offer(s, [item(1, 0), item(2, 0)])
    batch = some_batch(s)
    frames = batch.jpegs
    assert s.failed(batch, replica_died=False) == []
    s.offer(item(3, 0))
    again = some_batch(s)
    assert again.jpegs == frames, "and it goes first"


def test_a_failure_that_the_replica_survives_halves_later() -> None:
    s = scheduler()
    offer(s, [item(1, seq) for seq in range(4)])
    for _ in range(FAILURES_ALLOWED):
        batch = some_batch(s)
        assert seqs(batch) == {A: [0, 1, 2, 3]}
        assert s.failed(batch, replica_died=False) == []
    assert seqs(some_batch(s)) == {A: [0, 1]}


def test_after_two_deaths_a_batch_is_halved_and_the_rest_keeps_its_place() -> None:
    s = scheduler()
    offer(s, [item(1, 0), item(1, 1), end(1), item(1, 0, number=2), item(2, 0), item(2, 1)])
    for _ in range(DEATHS_ALLOWED):
        assert seqs(some_batch_failed(s)) == {A: [0, 1, 0], B: [0, 1]}
    half = some_batch(s)
    assert seqs(half) == {A: [0, 1]}
    observe(s, half)
    heard = told(finish(s))
    assert [one for one in heard if one[0].vehicle == A] == [
        (trip(1), 0),
        (trip(1), 1),
        (trip(1), "device"),
        (trip(1, number=2), 0),
    ]
    assert [one for one in heard if one[0].vehicle == B] == [(trip(2), 0), (trip(2), 1)]


def some_batch_failed(of: Scheduler) -> Batch:
    batch = some_batch(of)
    assert of.failed(batch, replica_died=True) == []
    return batch


def test_a_lone_frame_that_kills_twice_is_dropped() -> None:
    s = scheduler()
    offer(s, [item(1, 0), end(1)])
    assert s.failed(some_batch(s), replica_died=True) == []
    [dropped] = s.failed(some_batch(s), replica_died=True)
    assert (dropped.frame.seq, dropped.reason) == (0, "crashed")
    assert told(finish(s)) == [(trip(1), "device")]
    assert not s.vehicles


@pytest.mark.parametrize("in_flight", [1, 2, 3])
@pytest.mark.parametrize("poison", [b"1/1/0", b"2/1/5", b"3/1/9"])
def test_a_frame_that_kills_is_found_and_every_other_frame_arrives(poison: bytes, in_flight: int) -> None:
    # All batches in flight run on one replica, so its death ends them all: only the poison may be blamed.
    s = scheduler(max_batch_size=8)
    offer(s, [item(vehicle, seq) for seq in range(10) for vehicle in range(1, 7)])
    heard: dict[uuid.UUID, list[int]] = defaultdict(list)
    dropped: list[Dropped] = []
    for _ in range(1000):
        for vehicle, push in list(s.pushes()):
            heard[vehicle] += [seen.frame.seq for seen in push.frames]
            s.pushed(vehicle)
        batches = [batch for _ in range(in_flight) if (batch := s.next_batch())]
        if not batches:
            break
        died = any(poison in batch.jpegs for batch in batches)
        for batch in batches:
            if died:
                dropped += s.failed(batch, replica_died=True)
            else:
                observe(s, batch)
    assert [one.frame.jpeg for one in dropped] == [poison]
    whole = {vehicle_id(vehicle): list(range(10)) for vehicle in range(1, 7)}
    whole[dropped[0].trip.vehicle].remove(dropped[0].frame.seq)
    assert heard == whole


def test_unreadable_frames_are_dropped_and_their_neighbours_are_not() -> None:
    s = scheduler()
    offer(s, [item(1, 0), item(2, 0), item(1, 1), end(1)])
    batch = some_batch(s)
    answers = [Unreadable("cut") if jpeg == b"1/1/0" else SEEN for jpeg in batch.jpegs]
    [dropped] = s.observed(batch, answers)
    assert (dropped.trip, dropped.frame.seq, dropped.reason) == (trip(1), 0, "unreadable")
    pushes = dict(s.pushes())
    assert [seen.frame.seq for seen in pushes[A].frames] == [1]
    assert pushes[A].closed_by == "device"
    assert [seen.frame.seq for seen in pushes[B].frames] == [0]


@pytest.mark.parametrize("how", ["unreadable", "crashed"])
def test_a_vehicle_whose_last_frame_was_given_up_is_not_busy(how: str) -> None:
    s = scheduler()
    s.offer(item(1, 0))
    if how == "unreadable":
        s.observed(some_batch(s), [Unreadable("cut")])
    else:
        for _ in range(DEATHS_ALLOWED):
            s.failed(some_batch(s), replica_died=True)
    assert list(s.pushes()) == []
    assert not s.vehicles, "nothing is under way any more"


def test_a_push_carries_32_frames_at_most() -> None:
    s = scheduler(max_batch_size=20)
    s.offer(start(1))
    assert len(list(s.pushes())) == 1
    offer(s, [item(1, seq) for seq in range(40)])
    observe(s, some_batch(s))
    observe(s, some_batch(s))
    assert s.next_batch() is None
    s.pushed(A)
    [(_, first)] = s.pushes()
    observe(s, some_batch(s))
    s.pushed(A)
    [(_, second)] = s.pushes()
    assert [len(first.frames), len(second.frames)] == [PUSH_FRAMES, 40 - PUSH_FRAMES]


def test_a_push_is_of_one_trip() -> None:
    s = scheduler()
    s.offer(start(1))
    assert len(list(s.pushes())) == 1
    offer(s, [item(1, 0), end(1), start(1, number=2), item(1, 0, number=2), item(1, 1, number=2)])
    observe(s, some_batch(s))
    s.pushed(A)
    [(_, first)] = s.pushes()
    s.pushed(A)
    [(_, second)] = s.pushes()
    assert (first.trip, len(first.frames), first.closed_by) == (trip(1), 1, "device")
    assert (second.trip, len(second.frames), second.closed_by) == (trip(1, number=2), 2, None)


def test_a_slow_actor_fills_its_own_mailbox_only() -> None:
    s = scheduler(mailbox_frames=50, max_batch_size=8)
    s.offer(start(1))
    assert len(list(s.pushes())) == 1, "and it is not answered"
    detected: dict[uuid.UUID, int] = defaultdict(int)
    dropped = 0
    for seq in range(200):
        dropped += len(offer(s, [item(1, seq), item(2, seq)]))
        while batch := s.next_batch():
            observe(s, batch)
            for vehicle, taken in seqs(batch).items():
                detected[vehicle] += len(taken)
        for vehicle, _push in list(s.pushes()):
            assert vehicle == B
            s.pushed(vehicle)
    assert detected[B] == 200
    assert detected[A] == PUSH_FRAMES
    assert s.backlog(A) == 50
    assert dropped == 200 - detected[A] - 50


class Story:
    """Random work on a scheduler, and what must hold at every step."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.mailbox_frames = self.random.choice([1, 3, 20])
        self.scheduler = scheduler(mailbox_frames=self.mailbox_frames, max_batch_size=self.random.choice([1, 2, 5, 16]))
        self.batches: list[Batch] = []
        self.pushing: set[uuid.UUID] = set()
        self.offered: dict[uuid.UUID, list[tuple[Trip, object]]] = defaultdict(list)
        self.heard: dict[uuid.UUID, list[tuple[Trip, object]]] = defaultdict(list)
        self.dropped: list[Dropped] = []
        self.open: dict[int, tuple[int, int]] = {}
        self.trips = 0

    def run(self) -> None:
        """A few hundred steps, then every trip ends and all is carried out."""
        for _ in range(400):
            self.random.choice([self.offer, self.offer, self.offer, self.take, self.answer, self.push, self.pushed])()
        for vehicle, (number, _) in list(self.open.items()):
            self.say(end(vehicle, number=number))
        for _ in range(10_000):
            if not self.scheduler.vehicles:
                break
            self.random.choice([self.take, self.answer, self.push, self.pushed])()
        self.check()

    def say(self, one: Item) -> None:
        """Offer and remember."""
        if one.frame or one.closed_by:
            self.offered[one.trip.vehicle].append((one.trip, one.frame.seq if one.frame else one.closed_by))
        self.dropped += offer(self.scheduler, [one])

    def offer(self) -> None:
        """A start, a frame or an end of some vehicle."""
        vehicle = self.random.randint(1, 4)
        if vehicle not in self.open:
            self.trips += 1
            self.open[vehicle] = (self.trips, 0)
            self.say(start(vehicle, number=self.trips))
            return
        number, seq = self.open[vehicle]
        if self.random.random() < 0.1:
            del self.open[vehicle]
            self.say(end(vehicle, number=number))
            return
        self.open[vehicle] = (number, seq + 1)
        self.say(item(vehicle, seq, number=number))

    def take(self) -> None:
        """A batch goes out."""
        if batch := self.scheduler.next_batch():
            assert batch.jpegs
            out = {vehicle for other in self.batches for vehicle in other.items}
            assert not out & set(batch.items), "a vehicle is in one batch at a time"
            self.batches.append(batch)

    def answer(self) -> None:
        """A batch comes back, or fails."""
        if not self.batches:
            return
        batch = self.batches.pop(self.random.randrange(len(self.batches)))
        if self.random.random() < 0.3:
            self.dropped += self.scheduler.failed(batch, replica_died=self.random.random() < 0.5)
            return
        answers: list[Observation | Unreadable] = [
            Unreadable("cut") if self.random.random() < 0.05 else SEEN for _ in batch.jpegs
        ]
        self.dropped += self.scheduler.observed(batch, answers)

    def push(self) -> None:
        """Pushes go out."""
        for vehicle, push in self.scheduler.pushes():
            assert vehicle not in self.pushing, "one push of a vehicle at a time"
            assert len(push.frames) <= PUSH_FRAMES
            self.pushing.add(vehicle)
            self.heard[vehicle] += [one for one in told([push]) if one[1] != "start"]

    def pushed(self) -> None:
        """One of them is answered."""
        if self.pushing:
            vehicle = self.random.choice(sorted(self.pushing))
            self.pushing.remove(vehicle)
            self.scheduler.pushed(vehicle)

    def check(self) -> None:
        """What must be true of the whole story."""
        assert not self.scheduler.vehicles
        assert self.scheduler.next_batch() is None
        assert list(self.scheduler.pushes()) == []
        given_up = [(one.trip, one.frame.seq) for one in self.dropped]
        assert len(set(given_up)) == len(given_up), "dropped once"
        for vehicle, offered in self.offered.items():
            assert self.heard[vehicle] == [one for one in offered if one not in given_up], "each once and in order"
            assert self.scheduler.backlog(vehicle) == 0


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_each_frame_arrives_once_and_in_order_or_is_dropped(seed: int) -> None:
    Story(seed).run()


def test_the_answers_belong_to_the_frames_in_their_order() -> None:
    s = scheduler()
    offer(s, [item(vehicle, seq) for seq in range(3) for vehicle in (1, 2, 3)])
    batch = some_batch(s)
    s.observed(batch, [observation("phone") if jpeg == b"2/1/1" else SEEN for jpeg in batch.jpegs])
    flagged = [(v, seen.frame.seq) for v, push in s.pushes() for seen in push.frames if seen.observation.detections]
    assert flagged == [(B, 1)]


def test_an_end_is_not_held_up_by_a_frame_that_another_vehicle_pushed_out() -> None:
    s = Scheduler(mailbox_frames=10, max_batch_size=4, all_mailboxes_bytes=100)
    s.offer(Item(trip(1), frame(0, data=bytes(80))))
    s.offer(Item(trip(1), closed_by="device"))
    [dropped] = s.offer(Item(trip(2), frame(0, data=bytes(40))))
    assert (dropped.trip, dropped.reason) == (trip(1), "mailbox_full")
    [(vehicle, push)] = s.pushes()
    assert (vehicle, push.closed_by) == (A, "device")
