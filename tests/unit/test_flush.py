"""From a part to the stores: steps that fail are repeated, nothing is stored twice."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from actors import flush
from actors.encode import encode_mp4
from actors.encoders import encoder_place
from actors.flush import FIRST_RETRY_S, LONGEST_RETRY_S, Flusher, FlushStatus
from actors.journal import Journal
from actors.journal_records import Progress, Taken
from actors.ports import Stores
from actors.records import AlertRecord, TripRecord, alert_uuid, object_name, trace_name, video_uuid
from models.types import ClosedBy, Frame, Trip
from tests.builders import frame, jpeg, make_event, trip
from tests.fakes.stores import FakeFootageStore, FakeMetricsStore

TRIP = trip()
NAME = object_name(TRIP, 1)


def with_traces(*parts: int) -> list[str]:
    """The objects of these parts, in the order in which they are stored."""
    return [name for part in parts for name in (object_name(TRIP, part), trace_name(TRIP, part))]


class World:
    """A flusher, its stores, and what it did meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.footage = FakeFootageStore()
        self.metrics = FakeMetricsStore()
        self.scratch = folder / "made when needed"
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
        return Stores(self.footage, self.metrics, self.scratch)

    def sleep(self, pause_s: float) -> None:
        """Do not."""
        self.pauses_s.append(pause_s)
        self.statuses.append(self.flusher.pending)

    def part(
        self, number: int = 1, *, of: Trip = TRIP, frames: list[Frame] | None = None, closed_by: ClosedBy | None = None
    ) -> Journal:
        """A part with three flagged frames, or these."""
        footage = frames if frames is not None else [frame(10 * number + seq, data=jpeg()) for seq in range(3)]
        alerts = [AlertRecord(alert_uuid(of.id, f.seq), of.opened_at_ms, 0.3, 0.4, 1.5, 0, 0, None) for f in footage]
        journal = Journal.create(self.folder, of, number, Progress())
        progress = Progress(next_seq=20, frames=12, flagged=len(alerts), last_s=1.5)
        journal.take(Taken(progress, tuple(footage), tuple(alerts)))
        journal.end(closed_by)
        return journal

    def flush(self, *parts: Journal) -> None:
        """Flush them and wait until nothing is left."""
        for one in parts:
            self.flusher.submit(one)
        while self.flusher.pending:
            assert self.idle.acquire(timeout=10), "it never came to rest"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    left = [path for form in ("*.mp4", "*.json") for path in tmp_path.rglob(form) if path.name != "copy.mp4"]
    assert not left, "nothing may stay in scratch"
    assert not list(tmp_path.glob("*.journal")), "what is stored is forgotten"


def test_a_part_becomes_one_object_one_video_and_its_alerts(world: World, tmp_path: Path) -> None:
    world.flush(world.part())

    assert list(world.footage.objects) == with_traces(1)
    [video] = world.metrics.videos.values()
    assert (video.uuid, video.vehicle) == (video_uuid(TRIP.id, 1), TRIP.vehicle)
    assert video.url.endswith(f"/footage/{NAME}")
    assert set(world.metrics.alerts) == {alert_uuid(TRIP.id, seq) for seq in (10, 11, 12)}
    (tmp_path / "copy").write_bytes(world.footage.objects[NAME])
    with av.open(str(tmp_path / "copy"), format="mp4") as container:
        assert len(list(container.decode(video=0))) == 3
    assert world.pauses_s == []


def test_doing_it_twice_leaves_one(world: World) -> None:
    world.flush(world.part())
    before = dict(world.footage.objects)
    world.flush(world.part())
    assert world.footage.objects == before
    assert (len(world.metrics.videos), len(world.metrics.alerts)) == (1, 3)


def test_parts_follow_each_other(world: World) -> None:
    world.flush(world.part(1), world.part(2), world.part(3))
    assert list(world.footage.objects) == with_traces(1, 2, 3)
    assert len(world.metrics.videos) == 3


def test_stores_are_opened_once_and_not_before_the_first_part(world: World) -> None:
    assert world.opens == 0
    world.flush(world.part(1))
    world.flush(world.part(2))
    assert world.opens == 1


def test_every_step_is_repeated_until_it_works(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.opened = [RuntimeError("no settings here")]
    world.footage.failures = [OSError("bucket away")] * 3
    world.metrics.failures = [OSError("database away")] * 2
    with caplog.at_level(logging.WARNING, "actors.flush"):
        world.flush(world.part())
    assert len(world.pauses_s) == 6
    assert len(world.metrics.videos) == 1
    assert [record.args[1] for record in caplog.records if isinstance(record.args, tuple)] == [
        "waiting",
        *["upload"] * 3,
        *["rows"] * 2,
    ]


def test_pauses_grow_up_to_half_a_minute_for_as_long_as_it_takes(world: World) -> None:
    world.footage.failures = [OSError("bucket away")] * 60
    world.flush(world.part())
    assert len(world.pauses_s) == 60
    assert world.pauses_s[0] < world.pauses_s[4] < world.pauses_s[7]
    assert world.pauses_s[0] >= FIRST_RETRY_S
    assert max(world.pauses_s) == LONGEST_RETRY_S


def test_what_is_pending_says_where_it_is(world: World) -> None:
    world.footage.failures = [OSError("bucket away\nand a long story"), OSError()]
    world.flush(world.part(1), world.part(2))
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
        flusher.submit(world.part(number))
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
        flusher.submit(world.part(number))
    held.set()
    assert world.idle.acquire(timeout=10)
    assert flusher.pending == ()
    assert not world.idle.acquire(timeout=0.05), "said more than once"


def test_frames_that_cannot_be_decoded_leave_the_others(world: World) -> None:
    world.flush(world.part(frames=[frame(0), frame(1, data=jpeg()), frame(2)]))
    assert list(world.footage.objects) == with_traces(1)
    assert len(world.metrics.alerts) == 3


def test_rows_without_a_picture_get_a_black_one(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.flush(world.part(1, frames=[frame(0), frame(1)]), world.part(2))
    assert "there is no picture that can be decoded; its rows get a black picture" in caplog.text
    assert list(world.footage.objects) == with_traces(1, 2)
    assert len(world.metrics.alerts) == 5


def test_the_last_part_of_a_trip_brings_its_end(world: World) -> None:
    world.flush(world.part(1))
    assert world.metrics.trips == {}
    world.flush(world.part(2, closed_by="idle"))
    ended_at_ms = TRIP.opened_at_ms + 1500
    record = TripRecord(TRIP.id, TRIP.vehicle, TRIP.opened_at_ms, ended_at_ms, "idle", False, 12, 3)  # noqa: FBT003
    assert world.metrics.trips == {TRIP.id: record}


def test_a_trip_without_footage_leaves_its_end_and_nothing_else(world: World) -> None:
    world.flush(world.part(frames=[], closed_by="device"))
    assert world.metrics.trips[TRIP.id].closed_by == "device"
    assert (world.footage.objects, world.metrics.videos, world.metrics.alerts) == ({}, {}, {})


class KilledError(BaseException):
    """What `kill -9` would do to the thread of the flush."""


@pytest.mark.parametrize("step", ["encode", "upload", "uploaded", "rows", "saved", "remove"])
def test_a_flush_that_is_killed_goes_on_where_it_was(world: World, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    part = world.part(closed_by="device")
    puts: list[str] = []
    put, save = world.footage.put, world.metrics.save

    def die(*_: object, **__: object) -> None:
        raise KilledError

    def counted(name: str, mp4: Path) -> None:
        puts.append(name)
        put(name, mp4)
        if step == "uploaded":
            die()

    def saved(*args: Any) -> None:
        save(*args)
        die()

    monkeypatch.setattr(world.footage, "put", die if step == "upload" else counted)
    monkeypatch.setattr(world.metrics, "save", {"rows": die, "saved": saved}.get(step, save))
    if step == "encode":
        monkeypatch.setattr(flush, "encode_mp4", die)
    if step == "remove":
        monkeypatch.setattr(part, "remove", die)
    world.flush(part)
    part.release()
    monkeypatch.setattr(world.footage, "put", counted)
    monkeypatch.setattr(world.metrics, "save", save)
    monkeypatch.setattr(flush, "encode_mp4", encode_mp4)
    step = "none any more"

    [path] = world.folder.glob("*.journal")
    world.flusher.submit(Journal.open(path))
    while world.flusher.pending:
        assert world.idle.acquire(timeout=10)

    assert list(world.footage.objects) == with_traces(1)
    assert (len(world.metrics.videos), len(world.metrics.alerts), len(world.metrics.trips)) == (1, 3, 1)
    assert world.metrics.trips[TRIP.id].recovered


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
    world.flusher.submit(world.part())
    assert world.idle.acquire(timeout=10), "it is pending for ever and nobody works on it"
    assert list(world.footage.objects) == with_traces(1)


def test_an_encoding_that_fails_leaves_no_half_file_on_a_full_disk(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[list[Path]] = []

    def fails(_frames: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    def sleep(pause_s: float) -> None:
        left.append([path for path in world.scratch.iterdir() if path.is_file()])
        monkeypatch.setattr(flush, "encode_mp4", encode_mp4)
        world.sleep(pause_s)

    monkeypatch.setattr(flush, "encode_mp4", fails)
    world.flusher = flush.Flusher(world.open, on_idle=world.idle.release, sleep=sleep)
    world.flush(world.part())
    assert left == [[]]
    assert list(world.footage.objects) == with_traces(1)


def test_events_are_stored_with_where_the_video_shows_them(tmp_path: Path) -> None:
    world = World(tmp_path)
    footage = [frame(seq, data=jpeg()) for seq in range(20, 40)]
    shown = make_event(TRIP, started_ms=TRIP.opened_at_ms + 2500)
    earlier = make_event(TRIP, number=2, started_ms=TRIP.opened_at_ms + 1500)
    gone = make_event(TRIP, number=3, started_ms=TRIP.opened_at_ms + 500, ended_ms=TRIP.opened_at_ms + 1000)
    journal = Journal.create(world.folder, TRIP, 1, Progress())
    journal.take(Taken(Progress(next_seq=40, frames=40, last_s=3.9, events=(shown, earlier, gone)), tuple(footage)))
    journal.end("device")
    world.flush(journal)
    video = video_uuid(TRIP.id, 1)
    stored = world.metrics.events
    assert [(stored[e.uuid].video, stored[e.uuid].offset_s) for e in (shown, earlier, gone)] == [
        (video, 0.5),
        (video, 0.0),
        (None, None),
    ]
    assert stored[shown.uuid].ended_ms == TRIP.opened_at_ms + 3900, "it ended with its trip"


def test_events_of_a_trip_without_footage_are_stored(tmp_path: Path) -> None:
    world = World(tmp_path)
    journal = Journal.create(world.folder, TRIP, 1, Progress())
    journal.take(Taken(Progress(next_seq=40, frames=40, last_s=3.9, events=(make_event(TRIP, kind="no_face"),))))
    journal.end("device")
    world.flush(journal)
    assert [event.kind for event in world.metrics.events.values()] == ["no_face"]
    assert world.metrics.videos == {}


def test_a_flush_waits_for_a_place_to_encode_unless_the_service_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flush, "PLACES", 1)
    monkeypatch.setattr(flush, "ALL_PLACES", 2)
    with encoder_place(world.scratch / "encoders", 1):
        world.flush(world.part(1, closed_by="shutdown"))
        world.flusher.submit(world.part(2, closed_by="device"))
        assert not world.idle.acquire(timeout=0.5)
        assert [status.step for status in world.flusher.pending] == ["waiting"]
        assert list(world.footage.objects) == with_traces(1)
    assert world.idle.acquire(timeout=10)
    assert list(world.footage.objects) == with_traces(1, 2)


def test_every_attempt_is_told_with_how_it_ended(world: World) -> None:
    told: list[tuple[str, str]] = []
    world.flusher = Flusher(
        world.open,
        on_idle=world.idle.release,
        on_attempt=lambda step, outcome, seconds: told.append((step, outcome)) if seconds >= 0 else None,
        sleep=world.sleep,
    )
    world.footage.failures = [OSError("bucket away")]
    world.flush(world.part())
    assert told == [
        ("waiting", "done"),
        ("encode", "done"),
        ("upload", "failed"),
        *[("upload", "done")] * 2,
        *[("rows", "done")] * 2,
    ]
