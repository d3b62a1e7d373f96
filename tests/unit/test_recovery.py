"""A Gateway that starts: what lives goes on, what was left behind is finished."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from actors.journal import Journal
from actors.journal_records import Progress
from actors.vehicle_actor import VehicleStatus
from models.types import Trip
from serve_app import recovery
from serve_app.recovery import Part, Recovery, parts_with_journals
from serve_app.trip_notes import TripNotes
from tests.builders import trip, vehicle_id
from tests.waiting import until

A, B, C = (vehicle_id(number) for number in (1, 2, 3))


class FakeActors:
    """`Actors`: vehicles by what they answer."""

    def __init__(self) -> None:
        self.alive: dict[uuid.UUID, Trip | None] = {}
        self.silent: set[uuid.UUID] = set()
        self.places: dict[uuid.UUID, str] = {}
        self.failures: list[Exception] = []
        self.finished: list[tuple[uuid.UUID, str | None, Trip | None]] = []

    async def living(self) -> set[uuid.UUID]:
        """See `Actors.living`."""
        await asyncio.sleep(0)
        return {*self.alive, *self.silent}

    async def standing(self, vehicle: uuid.UUID, timeout_s: float) -> VehicleStatus:
        """See `Actors.standing`."""
        await asyncio.sleep(0)
        assert timeout_s > 0
        if vehicle in self.silent:
            raise TimeoutError
        if vehicle not in self.alive:
            raise LookupError
        return VehicleStatus(self.alive[vehicle], Progress(next_seq=7), 1, 12.5, (), "a node", 4711)

    async def finish_left_behind(self, vehicle: uuid.UUID, node: str | None, trip: Trip | None = None) -> None:
        """See `Actors.finish_left_behind`."""
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        self.finished.append((vehicle, node, trip))

    async def journals(self, timeout_s: float) -> dict[str, dict[Part, int]]:
        """See `Actors.journals`."""
        await asyncio.sleep(0)
        assert timeout_s > 0
        return {node: {(vehicle, trip().id, 1): 99} for vehicle, node in self.places.items()}


class World:
    """A Gateway's beginning: the actors, the notes, and what is open in the end."""

    def __init__(self, folder: Path) -> None:
        self.actors = FakeActors()
        self.notes = TripNotes(folder, "this Ray")
        self.before = TripNotes(folder, "a Ray that is gone")
        self.adopted: list[VehicleStatus] = []
        self.open: dict[uuid.UUID, Trip] = {}
        self.reopened: list[uuid.UUID] = []
        self.recovery = Recovery(
            self.actors,
            self.notes,
            adopt=self._adopt,
            reopen=self.reopened.append,
            is_open=lambda trip: self.open.get(trip.vehicle) == trip,
            is_busy=lambda vehicle: vehicle in self.open,
        )

    def _adopt(self, status: VehicleStatus) -> None:
        self.adopted.append(status)
        if status.trip:
            self.open[status.trip.vehicle] = status.trip


Run = Callable[[Callable[[World], Awaitable[None]]], None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(recovery, "SWEEP_S", 0.001)

    async def whole(story: Callable[[World], Awaitable[None]]) -> None:
        await story(World(tmp_path))

    return lambda story: asyncio.run(whole(story))


async def swept(w: World, condition: Callable[[], object]) -> None:
    """Sweep until it holds."""
    sweeping = asyncio.create_task(w.recovery.sweep_forever())
    await until(condition)
    sweeping.cancel()


def test_living_vehicles_with_an_open_trip_go_on(run: Run) -> None:
    async def story(w: World) -> None:
        w.actors.alive = {A: trip(1), B: None}
        await w.recovery.adopt()
        assert w.open == {A: trip(1)}
        assert [(s.progress.next_seq, s.age_s) for s in w.adopted if s.trip] == [(7, 12.5)]

    run(story)


def test_a_trip_that_was_acknowledged_and_has_no_actor_yet_goes_on(run: Run) -> None:
    async def story(w: World) -> None:
        w.notes.opened(trip(1))
        w.notes.opened(trip(2))
        w.notes.closed(trip(2))
        w.actors.alive = {C: trip(3)}
        w.notes.opened(trip(3, number=2))  # while the actor still had the one before open
        await w.recovery.adopt()
        assert (w.open, w.reopened) == ({C: trip(3)}, [A])
        assert w.notes.read() == ([], []), "the new trip has a note of its own"

    run(story)


def test_a_trip_that_was_acknowledged_while_its_actor_flushes_the_one_before_goes_on(run: Run) -> None:
    async def story(w: World) -> None:
        w.actors.alive = {A: None}
        w.notes.opened(trip(1, number=2))
        await w.recovery.adopt()
        assert (w.open, w.reopened) == ({}, [A]), "as a new one: it may be the one that is flushed"

    run(story)


def test_a_vehicle_that_does_not_answer_is_asked_again(run: Run) -> None:
    async def story(w: World) -> None:
        w.actors.silent = {A, B}
        w.notes.opened(trip(1))
        w.notes.opened(trip(2))
        await w.recovery.adopt()
        assert (w.open, w.reopened) == ({}, []), "it may have got further than the note says"
        w.notes.opened(trip(3))  # opened and closed here meanwhile: nobody asked about it
        w.actors.silent, w.actors.alive = set(), {A: trip(1)}
        await swept(w, lambda: w.reopened)
        assert (w.open, w.reopened) == ({A: trip(1)}, [B])
        assert w.notes.read() == ([trip(1), trip(3)], []) or w.notes.read() == ([trip(3), trip(1)], [])

    run(story)


def test_journals_without_an_actor_are_finished_where_they_are(run: Run) -> None:
    async def story(w: World) -> None:
        w.actors.alive = {A: None}
        w.open = {B: trip(2)}
        w.actors.places = {A: "node 1", B: "node 1", C: "node 2"}
        await swept(w, lambda: w.actors.finished)
        assert set(w.actors.finished) == {(C, "node 2", None)}

    run(story)


def test_trips_of_a_ray_that_is_gone_are_ended_once(run: Run) -> None:
    async def story(w: World) -> None:
        w.before.opened(trip(1))
        w.before.opened(trip(2))
        assert len(w.before.read()[0]) == 2
        w.actors.places = {A: "node 1"}
        w.actors.alive = {B: trip(2, number=2)}  # its device has opened anew already
        await w.recovery.adopt()
        assert set(w.open) == {B}
        await swept(w, lambda: w.notes.read() == ([], []))
        assert set(w.actors.finished[:2]) == {(A, "node 1", trip(1)), (B, None, trip(2))}

    run(story)


def test_what_cannot_be_finished_now_is_tried_again(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def story(w: World) -> None:
        w.before.opened(trip(1))
        assert w.before.read() == ([trip(1)], [])
        w.actors.failures = [RuntimeError("no worker to be had"), RuntimeError("still none")]
        await swept(w, lambda: w.notes.read() == ([], []))
        assert w.actors.finished == [(A, None, trip(1))]

    run(story)
    assert "not finished, again in" in caplog.text


def test_a_note_that_is_spoilt_is_kept_aside(tmp_path: Path) -> None:
    notes = TripNotes(tmp_path, "this Ray")
    notes.opened(trip(1))
    assert notes.read() == ([trip(1)], [])
    [path] = tmp_path.iterdir()
    for text in ("", path.read_text()[:-5], "{}", "[1]"):
        path.write_text(text)
        assert notes.read() == ([], [])
        assert path.with_suffix(".unreadable").read_text() == text


def test_a_disk_that_takes_no_note_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    notes = TripNotes(tmp_path / "file", "this Ray")
    notes.opened(trip())
    notes.closed(trip())
    assert notes.read() == ([], [])
    assert "is not noted" in caplog.text


def test_parts_are_known_by_the_names_of_their_journals(tmp_path: Path) -> None:
    for one in (trip(1), trip(1, number=2), trip(2)):
        Journal.create(tmp_path, one, 1, Progress()).release()
    (tmp_path / "something.journal").touch()
    TripNotes(tmp_path, "this Ray").opened(trip(3))
    found = parts_with_journals(tmp_path)
    assert set(found) == {(one.vehicle, one.id, 1) for one in (trip(1), trip(1, number=2), trip(2))}
    assert sum(found.values()) == sum(path.stat().st_size for path in tmp_path.glob("*.1.journal"))
