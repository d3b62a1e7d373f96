"""The broker goes away."""

from __future__ import annotations

import time

from tests.chaos.conftest import Tell
from tests.chaos.world import World


def test_the_broker_is_restarted_in_the_middle_of_a_trip(world: World, tell: Tell) -> None:
    with tell("broker restarted mid-trip") as story:
        story.open()
        story.fleet.drive(3)
        with story.fault(), story.fleet.driving():
            world.broker.stop()
            time.sleep(2)
            world.broker.start()
        story.flows_again()
        story.fleet.drive(3)
        story.close()
        story.settle()


def test_the_broker_is_killed_in_the_middle_of_a_trip(world: World, tell: Tell) -> None:
    with tell("broker killed mid-trip") as story:
        story.open()
        with story.fleet.driving():
            time.sleep(3)
            with story.fault():
                world.broker.kill()
                world.broker.start()
            story.flows_again()
            time.sleep(3)
        story.close()
        story.settle()


def test_the_broker_is_away_when_the_trips_end(world: World, tell: Tell) -> None:
    with tell("broker away for 20 s at close") as story:
        story.open()
        story.fleet.drive(3)
        with story.fault():
            world.broker.stop()
            story.fleet.ask_to_close()
            time.sleep(20)
            world.broker.start()
        story.close()  # the devices say it again: this broker has forgotten who wanted to hear of it
        story.settle()
