"""Trips without end: nothing grows, and nothing is left behind."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tests.chaos.conftest import Teller
from tests.chaos.fleet import Fleet
from tests.chaos.marks import Mark
from tests.chaos.processes import head, named, replicas
from tests.chaos.story import Story
from tests.chaos.world import World
from tests.serve.service import Service
from tests.waiting import eventually

CYCLES = int(os.environ.get("SOAK_CYCLES") or 2_000)
FRAMES = int(os.environ.get("SOAK_FRAMES") or 200_000)
VEHICLES = 16
FPS = 8
"""One actor started a second, and 130 frames: at half as many again, two cores could not always keep up."""
FLAGGED_TRIPS = 10
"""One trip in so many is flagged, from beginning to end."""
GROWTH = 1.10
OF_HEAD = "  of it "
"""Shown only: small, and these level off after a thousand trips."""
MB = 2**20


@pytest.mark.soak
@pytest.mark.timeout(3 * 3600)
def test_nothing_grows_and_nothing_is_left(world: World, service: Service, teller: Teller) -> None:
    trips = max(2, CYCLES // VEHICLES)  # of each vehicle
    tenth = max(1, trips // 10)
    frames = max(1, FRAMES // trips // VEHICLES)  # of each trip
    with teller(world, service, "none: soak", vehicles=VEHICLES) as story:
        looks: list[dict[str, float]] = []
        for first, end in pairwise([0, tenth, trips * 2 // 5, trips * 7 // 10, trips]):  # two in between show a curve
            began_s = time.monotonic()
            with ThreadPoolExecutor(VEHICLES) as lanes:
                numbers = range(first * frames, end * frames)
                done = [lanes.submit(_drive, story.fleet, v, numbers, frames) for v in story.fleet.vehicles]
            for lane in done:
                lane.result()
            print(f"\n{(end - first) * VEHICLES} trips of {frames} frames in {time.monotonic() - began_s:.0f} s")
            _come_to_rest(story)
            looks.append(_look(service))
        _print(looks)
        story.trips = trips
        accounts = story.settle()
        assert all(one.relayed == story.trips * frames for one in accounts), "every frame is relayed"
        for what, before in looks[0].items():
            assert what.startswith(OF_HEAD) or looks[-1][what] <= before * GROWTH, f"{what} grows"
        assert looks[-1]["vehicle actors"] == looks[-1]["journals"] == 0


def _mark(number: int, frames: int) -> Mark:
    return Mark(number, see=("bottle",) if number // frames % FLAGGED_TRIPS == 0 else ())


def _drive(fleet: Fleet, vehicle: uuid.UUID, numbers: range, frames: int) -> None:
    """Trip after trip of one vehicle, each of so many frames."""
    began_s = time.monotonic()
    for number in numbers:
        if number % frames == 0:
            fleet.open(vehicle)
        fleet.send(vehicle, _mark(number, frames))
        if (number + 1) % frames == 0:
            fleet.ask_to_close(vehicle)
        due_s = began_s + (number + 1 - numbers.start) / FPS
        time.sleep(max(0.0, due_s - time.monotonic()))


def _come_to_rest(story: Story) -> None:
    """Return when no stream is open, nothing is left to flush and no actor lives."""
    service = story.service
    assert eventually(lambda: service.json("/v1/streams") == [] and service.json("/v1/flushes") == [], 180)
    assert eventually(lambda: not named(service, "ray::Vehicle"), 60), "actors are left"
    time.sleep(10)  # for Ray to tidy up


def _look(service: Service) -> dict[str, float]:
    """What must not grow, at rest; memory in MB."""
    [gateway] = replicas(service, "Gateway")
    groups: dict[str, Sequence[psutil.Process]] = {
        "Gateway": [gateway],
        "Detectors": replicas(service, "Detector"),
        "Api": replicas(service, "Api"),
        "head": head(service),
        OF_HEAD + "raylet": named(service, "raylet"),
        OF_HEAD + "gcs_server": named(service, "gcs_server"),
    }
    return {
        **{f"{name}, MB": sum(p.memory_info().rss for p in processes) / MB for name, processes in groups.items()},
        "Gateway's files": gateway.num_fds(),
        "Gateway's sockets": len(gateway.net_connections()),
        "vehicle actors": len(named(service, "ray::Vehicle")),
        "journals": len(list((Path(service.environ["DATA_DIR"]) / "journal").glob("*"))),
    }


def _print(looks: Sequence[dict[str, float]]) -> None:
    print(f"{'trips done':20} {'10 %':>10} {'40 %':>10} {'70 %':>10} {'100 %':>10}")
    for what in looks[0]:
        print(f"{what:20} " + " ".join(f"{look[what]:10.1f}" for look in looks))
