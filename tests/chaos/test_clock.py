"""The machine's clock is set back in the middle of trips."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.chaos.conftest import CONFIG, Teller
from tests.chaos.world import World
from tests.serve.service import running

SOURCE = Path(__file__).with_name("clock.c")
HOUR_S = 3600
TOLERANCE_S = 5.0
"""A busy machine hears of frames late."""


def test_the_clock_is_set_back_an_hour(own_world: World, tmp_path: Path, teller: Teller) -> None:
    offset = tmp_path / "offset"
    offset.write_text("0")
    clock = {"LD_PRELOAD": str(_library(tmp_path)), "WALL_CLOCK_OFFSET": str(offset)}
    with (
        running(tmp_path, config=CONFIG, **own_world.settings(**clock)) as own,
        teller(own_world, own, "clock set back an hour mid-trip") as story,
    ):
        story.open()
        with story.fleet.driving():
            time.sleep(3)
            with story.fault():
                offset.write_text(f"-{HOUR_S}")
            story.flows_again()
            time.sleep(3)
        story.close()
        story.settle()
        for vehicle in story.fleet.vehicles:
            [trip] = own_world.trips(vehicle)
            behind = dt.datetime.now(dt.UTC).replace(tzinfo=None) - trip["created_at"]
            assert behind > dt.timedelta(seconds=HOUR_S - 60), "the vehicle's process has seen the other clock"
            times = own_world.times(vehicle)
            heard_s = [one.at_s for one in story.fleet.relayed(vehicle) if one.number in times]
            lasted_s = (max(times.values()) - min(times.values())).total_seconds()
            assert abs(lasted_s - (max(heard_s) - min(heard_s))) < TOLERANCE_S, "capture times go on as they were"


def _library(folder: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler for tests/chaos/clock.c: apt-get install gcc libc6-dev")
    library = folder / "clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library
