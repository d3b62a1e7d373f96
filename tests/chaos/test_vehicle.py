"""Vehicles' actors die: on the road, and in each step of a flush."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.chaos.conftest import Tell
from tests.chaos.holds import rows_held, uploads_held
from tests.chaos.marks import Mark
from tests.chaos.pictures import BIG
from tests.chaos.processes import kill
from tests.chaos.story import Story
from tests.chaos.world import World
from tests.waiting import eventually

Hold = Callable[[World], AbstractContextManager[None]]


@pytest.mark.quick
def test_the_actors_are_killed_again_and_again_in_one_trip(tell: Tell) -> None:
    with tell("vehicle actors killed, three times in a trip") as story:
        story.open()
        with story.fleet.driving():
            for _ in range(3):
                time.sleep(2)
                pids = [_pid(story, vehicle) for vehicle in story.fleet.vehicles]
                with story.fault():
                    for pid in pids:
                        kill(pid)
                story.flows_again()
        story.close()
        story.settle()


@pytest.mark.parametrize(("step", "hold"), [("upload", uploads_held), ("rows", rows_held)])
def test_the_actors_are_killed_in_a_step_of_their_flush(world: World, tell: Tell, step: str, hold: Hold) -> None:
    with tell(f"vehicle actors killed while they flush: {step}") as story:
        story.open()
        story.fleet.drive(4)
        with hold(world):
            story.close()
            _kill_in(story, step)
        story.settle()


def test_an_actor_is_killed_while_it_encodes(tell: Tell) -> None:
    big: dict[str, Any] = {"vehicles": 1, "fps": 20, "size": BIG, "mark": lambda n: Mark(n, see=("phone",))}
    with tell("vehicle actor killed while it flushes: encode", **big) as story:
        story.open()
        story.fleet.drive(8)
        story.close()
        _kill_in(story, "encode")
        story.settle()


def _kill_in(story: Story, step: str) -> None:
    """Kill each vehicle's actor in this step of its flush; hold it a little longer for the one that comes after."""

    def there(vehicle: uuid.UUID) -> Any:
        return next((one for one in story.flushes(vehicle) if one["step"] == step), None)

    with story.fault():
        for vehicle in story.fleet.vehicles:
            flush = eventually(lambda v=vehicle: there(v))  # type: ignore[misc]
            assert flush, f"no flush is seen in step {step}"
            kill(flush["pid"])
        time.sleep(1)


def _pid(story: Story, vehicle: uuid.UUID) -> int:
    stream = eventually(lambda: (s := story.stream(vehicle)) and s["pid"] and s)
    return int(stream["pid"])
