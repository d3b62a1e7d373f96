"""The storage misbehaves while MP4s are brought to it."""

from __future__ import annotations

import time

import pytest

from tests.chaos.conftest import Tell
from tests.chaos.holds import storage_is
from tests.chaos.proxy import Mode
from tests.chaos.world import World
from tests.waiting import eventually

CUT_BYTES = 30_000
"""A part of the smallest of these MP4s, more than any other request."""


@pytest.mark.parametrize(
    ("name", "mode", "seconds"),
    [
        ("storage answers 503 for 30 s", "503", 30),
        pytest.param("uploads cut half-way for 3 s", "cut", 3, marks=pytest.mark.quick),
        ("storage takes everything and answers nothing", "stall", 10),
        ("storage refuses connections for 20 s", "refuse", 20),
    ],
)
def test_the_storage_is_not_what_it_should_be(world: World, tell: Tell, name: str, mode: Mode, seconds: float) -> None:
    with tell(name) as story:
        story.open()
        story.fleet.drive(5)
        with story.fault(), storage_is(world, mode, cut_after_bytes=CUT_BYTES):
            story.close()
            if mode != "refuse":  # nobody is there to count
                assert eventually(lambda: world.proxy.hits >= len(story.fleet.vehicles)), "the fault was met"
            time.sleep(seconds)
        story.settle()
