"""The service is asked to end (SIGTERM) while vehicles drive."""

from __future__ import annotations

import time
from pathlib import Path

from tests.chaos.conftest import CONFIG, Teller
from tests.chaos.holds import uploads_held
from tests.chaos.world import World
from tests.serve.service import running


def test_the_service_ends_under_load(own_world: World, tmp_path: Path, teller: Teller) -> None:
    settings = own_world.settings(DATA_DIR=str(tmp_path / "data"))
    with (
        running(tmp_path, config=CONFIG, **settings) as first,
        teller(own_world, first, "SIGTERM under load") as story,
    ):
        story.open()
        with story.fleet.driving():
            time.sleep(4)
            with story.fault():
                assert first.stop() == 0, "every trip is stored"
        again = tmp_path / "again"
        again.mkdir()
        with running(again, config=CONFIG, **settings) as story.service:
            story.settle()
            assert {trip["closed_by"] for v in story.fleet.vehicles for trip in own_world.trips(v)} == {"shutdown"}


def test_what_is_not_stored_in_time_is_stored_by_the_next_start(
    own_world: World, tmp_path: Path, teller: Teller
) -> None:
    settings = own_world.settings(DATA_DIR=str(tmp_path / "data"), SHUTDOWN_GRACE_S="3")
    with (
        running(tmp_path, config=CONFIG, **settings) as first,
        teller(own_world, first, "SIGTERM under load, storage stalls") as story,
    ):
        story.open()
        with story.fleet.driving():
            time.sleep(4)
            with story.fault(), uploads_held(own_world):
                assert first.stop() == 1, "something is left"
        again = tmp_path / "again"
        again.mkdir()
        with running(again, config=CONFIG, **settings) as story.service:
            story.settle()
            assert {trip["closed_by"] for v in story.fleet.vehicles for trip in own_world.trips(v)} == {"shutdown"}
