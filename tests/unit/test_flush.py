"""From a part to the stores: steps that fail are repeated, nothing is stored twice."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from actors.flush import FIRST_RETRY_S, LONGEST_RETRY_S, Flusher, FlushStatus
from actors.ports import Stores
from actors.records import AlertRecord, alert_uuid, object_name, video_uuid
from actors.vehicle import Part
from models.types import Frame, Trip
from tests.builders import frame, jpeg, trip
from tests.fakes.stores import FakeFootageStore, FakeMetricsStore

TRIP = trip()
NAME = object_name(TRIP, 1)


def part(number: int = 1, *, of: Trip = TRIP, frames: list[Frame] | None = None) -> Part:
    footage = frames if frames is not None else [frame(10 * number + seq, data=jpeg()) for seq in range(3)]
    alerts = [AlertRecord(alert_uuid(of.id, f.seq), of.opened_at_ms, 0.3, 0.4, 1.5, 0, 0, None) for f in footage]
    return Part(of, number, tuple(footage), tuple(alerts))


class World:
    """A flusher, its stores, and what it did meanwhile."""

    def __init__(self, scratch: Path) -> None:
        self.footage = FakeFootageStore()
        self.metrics = FakeMetricsStore()
        self.scratch = scratch
        self.opened: list[Exception] = []
        self.opens = 0
        self.pauses_s: list[float] = []
        self.statuses: list[tuple[FlushStatus, ...]] = []
        self.idle = threading.Semaphore(0)
        self.flusher = Flusher(self.open, on_idle=self.idle.release, sleep=self.sleep)

    def open(self) -> Stores:
        """Find the stores, or fail as told."""
        self.opens += 1
        if self.opened:
            raise self.opened.pop(0)
        return Stores(self.footage, self.metrics, self.scratch / "made when needed")

    def sleep(self, pause_s: float) -> None:
        """Do not."""
        self.pauses_s.append(pause_s)
        self.statuses.append(self.flusher.pending)

    def flush(self, *parts: Part) -> None:
        """Flush them and wait until nothing is left."""
        for one in parts:
            self.flusher.submit(one)
        while self.flusher.pending:
            assert self.idle.acquire(timeout=10), "it never came to rest"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    assert not list(tmp_path.rglob("*.mp4")), "nothing may stay in the scratch folder"


def test_a_part_becomes_one_object_one_video_and_its_alerts(world: World, tmp_path: Path) -> None:
    world.flush(part())

    assert list(world.footage.objects) == [NAME]
    [video] = world.metrics.videos.values()
    assert (video.uuid, video.vehicle) == (video_uuid(TRIP.id, 1), TRIP.vehicle)
    assert video.url.endswith(f"/footage/{NAME}")
    assert set(world.metrics.alerts) == {alert_uuid(TRIP.id, seq) for seq in (10, 11, 12)}
    (tmp_path / "copy").write_bytes(world.footage.objects[NAME])
    with av.open(str(tmp_path / "copy"), format="mp4") as container:
        assert len(list(container.decode(video=0))) == 3
    assert world.pauses_s == []


def test_doing_it_twice_leaves_one(world: World) -> None:
    world.flush(part())
    before = dict(world.footage.objects)
    world.flush(part())
    assert world.footage.objects == before
    assert (len(world.metrics.videos), len(world.metrics.alerts)) == (1, 3)


def test_parts_follow_each_other(world: World) -> None:
    world.flush(part(1), part(2), part(3))
    assert list(world.footage.objects) == [object_name(TRIP, number) for number in (1, 2, 3)]
    assert len(world.metrics.videos) == 3


def test_stores_are_opened_once_and_not_before_the_first_part(world: World) -> None:
    assert world.opens == 0
    world.flush(part(1))
    world.flush(part(2))
    assert world.opens == 1


def test_every_step_is_repeated_until_it_works(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.opened = [RuntimeError("no settings here")]
    world.footage.failures = [OSError("bucket away")] * 3
    world.metrics.failures = [OSError("database away")] * 2
    with caplog.at_level(logging.WARNING, "actors.flush"):
        world.flush(part())
    assert len(world.pauses_s) == 6
    assert len(world.metrics.videos) == 1
    assert [record.args[1] for record in caplog.records if isinstance(record.args, tuple)] == [
        "waiting",
        *["upload"] * 3,
        *["rows"] * 2,
    ]


def test_pauses_grow_up_to_half_a_minute_for_as_long_as_it_takes(world: World) -> None:
    world.footage.failures = [OSError("bucket away")] * 60
    world.flush(part())
    assert len(world.pauses_s) == 60
    assert world.pauses_s[0] < world.pauses_s[4] < world.pauses_s[7]
    assert world.pauses_s[0] >= FIRST_RETRY_S
    assert max(world.pauses_s) == LONGEST_RETRY_S


def test_what_is_pending_says_where_it_is(world: World) -> None:
    world.footage.failures = [OSError("bucket away\nand a long story"), OSError()]
    world.flush(part(1), part(2))
    first, second = (one[0] for one in world.statuses)
    assert (first.object_name, first.step, first.attempt) == (NAME, "upload", 2)
    assert first.last_error == "OSError: bucket away"
    assert first.next_try_at_s is not None
    assert (second.attempt, second.last_error) == (3, "OSError: ")
    assert world.flusher.pending == ()


def test_parts_that_wait_are_pending_oldest_first(world: World) -> None:
    world.footage.failures = [OSError("bucket away")]
    blocked, go_on = threading.Event(), threading.Event()

    def open_slowly() -> Stores:
        blocked.set()
        assert go_on.wait(10)
        return world.open()

    flusher = Flusher(open_slowly, on_idle=world.idle.release, sleep=world.sleep)
    for number in (1, 2, 3):
        flusher.submit(part(number))
    assert blocked.wait(10)
    assert [(status.object_name, status.step) for status in flusher.pending] == [
        (object_name(TRIP, number), "waiting") for number in (1, 2, 3)
    ]
    go_on.set()
    assert world.idle.acquire(timeout=10)
    assert flusher.pending == ()


def test_idle_is_said_once_when_nothing_is_left(world: World) -> None:
    held = threading.Event()

    def open_when_all_are_in() -> Stores:
        assert held.wait(10)
        return world.open()

    flusher = Flusher(open_when_all_are_in, on_idle=world.idle.release, sleep=world.sleep)
    for number in (1, 2, 3):
        flusher.submit(part(number))
    held.set()
    assert world.idle.acquire(timeout=10)
    assert flusher.pending == ()
    assert not world.idle.acquire(timeout=0.05), "said more than once"


def test_frames_that_cannot_be_decoded_leave_the_others(world: World) -> None:
    world.flush(part(frames=[frame(0), frame(1, data=jpeg()), frame(2)]))
    assert list(world.footage.objects) == [NAME]
    assert len(world.metrics.alerts) == 3


def test_a_part_without_a_picture_is_given_up_and_said(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.flush(part(1, frames=[frame(0), frame(1)]), part(2))
    assert "nothing to store: none of 2 frames could be decoded" in caplog.text
    assert list(world.footage.objects) == [object_name(TRIP, 2)]
    assert list(world.metrics.videos) == [video_uuid(TRIP.id, 2)]


class CannotName(FakeFootageStore):
    """Does not know the URL the first time."""

    asked = 0

    def url(self, name: str) -> str:
        """See `FootageStore.url`."""
        self.asked += 1
        if self.asked == 1:
            raise ValueError("no URL yet")
        return super().url(name)


def test_a_url_that_fails_does_not_lose_the_part(world: World) -> None:
    world.footage = CannotName()
    world.flusher.submit(part())
    assert world.idle.acquire(timeout=10), "it is pending for ever and nobody works on it"
    assert list(world.footage.objects) == [NAME]
