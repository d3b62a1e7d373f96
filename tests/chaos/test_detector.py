"""Detectors die."""

from __future__ import annotations

import time

from tests.chaos.conftest import Tell
from tests.chaos.fleet import slowly
from tests.chaos.marks import Mark
from tests.chaos.processes import kill, replicas
from tests.serve.service import Service
from tests.waiting import eventually


def test_a_detector_is_killed_with_batches_in_flight(service: Service, tell: Tell) -> None:
    with tell("one of two Detectors killed, batches in flight", mark=slowly) as story:
        story.open()
        with story.fleet.driving():
            time.sleep(2)
            with story.fault():
                kill(replicas(service, "Detector")[0].pid)
            story.flows_again()
            time.sleep(3)
        story.close()
        story.settle()


def test_all_detectors_are_killed_at_once(service: Service, tell: Tell) -> None:
    with tell("both Detectors killed, batches in flight", mark=slowly) as story:
        story.open()
        with story.fleet.driving():
            time.sleep(2)
            with story.fault():
                for replica in replicas(service, "Detector"):
                    kill(replica.pid)
            story.flows_again()
            time.sleep(2)
        assert eventually(lambda: len(replicas(service, "Detector")) == 2, 60)
        story.close()
        story.settle()


def test_a_poison_frame_is_dropped_alone(service: Service, tell: Tell) -> None:
    with tell("poison frame that kills every Detector") as story:
        story.open()
        victim, *others = story.fleet.vehicles
        with story.fleet.driving():
            time.sleep(2)
            with story.fault():
                story.fleet.send(victim, Mark(story.fleet.next_number(), poison=True))
                assert eventually(lambda: (s := story.stream(victim)) and s["dropped"], 180)
            story.flows_again()
        assert story.stream(victim)["dropped"] == {"crashed": 1}
        assert all(story.stream(other)["dropped"] == {} for other in others)
        story.close()
        story.settle()
