"""Everything dies at once, as in a power cut, and is started again on the same disk."""

from __future__ import annotations

import time
from pathlib import Path

from tests.chaos.conftest import CONFIG, Teller
from tests.chaos.holds import uploads_held
from tests.chaos.processes import kill_everything
from tests.chaos.story import Story
from tests.chaos.world import World
from tests.serve.service import running
from tests.waiting import eventually


def test_everything_is_killed_in_the_middle_of_trips(own_world: World, tmp_path: Path, teller: Teller) -> None:
    settings = own_world.settings(DATA_DIR=str(tmp_path / "data"))
    with (
        running(_folder(tmp_path, "first"), config=CONFIG, **settings) as first,
        teller(own_world, first, "everything killed mid-trip") as story,
    ):
        story.open()
        with story.fleet.driving():
            time.sleep(4)
            answered = story.answered()
            assert all(answered.values())
            with story.fault():
                kill_everything(first)
                story.gateway_is_dead(answered)
        with running(_folder(tmp_path, "second"), config=CONFIG, **settings) as story.service:
            story.settle()
            _all_closed_by(story, "recovered")


def test_everything_is_killed_while_trips_are_flushed(own_world: World, tmp_path: Path, teller: Teller) -> None:
    settings = own_world.settings(DATA_DIR=str(tmp_path / "data"))
    with (
        running(_folder(tmp_path, "first"), config=CONFIG, **settings) as first,
        teller(own_world, first, "everything killed while it flushes") as story,
    ):
        story.open()
        story.fleet.drive(4)
        answered = story.answered()
        assert all(answered.values())
        with uploads_held(own_world):
            story.close()
            assert eventually(
                lambda: all(any(f["step"] == "upload" for f in story.flushes(v)) for v in story.fleet.vehicles)
            )
            with story.fault():
                kill_everything(first)
                story.gateway_is_dead(answered)
        with running(_folder(tmp_path, "second"), config=CONFIG, **settings) as story.service:
            story.settle()
            _all_closed_by(story, "device")


def _all_closed_by(story: Story, closed_by: str) -> None:
    for vehicle in story.fleet.vehicles:
        [trip] = story.world.trips(vehicle)
        assert (trip["closed_by"], bool(trip["recovered"])) == (closed_by, True)
        assert trip["flagged"] == len(set(story.world.rows(vehicle)))


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder
