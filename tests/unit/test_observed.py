"""What is kept for those who watch a vehicle, and for nobody else."""

from __future__ import annotations

import asyncio
import functools
import zlib
from collections.abc import Callable, Coroutine
from typing import Any

from models.types import Unreadable
from serve_app.observed import ASKED_S, KEPT, Observed
from tests.builders import frame, observation, vehicle_id
from tests.fakes.clock import FakeClock

A, B = vehicle_id(1), vehicle_id(2)
NOW = 0.01


async def numbers(observed: Observed, after: int = 0) -> list[int]:
    return [one.number for one in await observed.after(A, after, NOW)]


def story(tell: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that runs on a loop."""

    @functools.wraps(tell)
    def told() -> None:
        asyncio.run(tell())

    return told


@story
async def test_nothing_is_kept_until_somebody_asks() -> None:
    observed = Observed()
    observed.note(A, frame(0), observation())
    assert await numbers(observed) == []
    observed.note(A, frame(1), observation())
    observed.note(B, frame(1), observation())
    assert await numbers(observed) == [1]


@story
async def test_what_was_seen_after_a_number_oldest_first() -> None:
    observed = Observed()
    await numbers(observed)
    for seq in range(3):
        observed.note(A, frame(seq, data=b"%d" % seq), observation("phone"))
    found = await observed.after(A, 1, NOW)
    assert [(one.number, one.captured_s, one.frame) for one in found] == [
        (2, 0.1, zlib.crc32(b"1")),
        (3, 0.2, zlib.crc32(b"2")),
    ]
    assert found[0].observation == observation("phone")
    assert await numbers(observed, 3) == []


@story
async def test_who_asks_is_answered_when_something_comes() -> None:
    observed = Observed()
    asked = [asyncio.create_task(observed.after(A, 0, 5.0), name=f"asks {i}") for i in range(2)]
    await asyncio.sleep(0)
    observed.note(A, frame(0), observation())
    for answer in await asyncio.gather(*asked):
        assert [one.number for one in answer] == [1]


@story
async def test_the_number_of_another_gateway_means_nothing_here() -> None:
    observed = Observed()
    assert await numbers(observed, 700) == []
    observed.note(A, frame(0), observation())
    assert await numbers(observed, 700) == [1]


@story
async def test_a_frame_that_could_not_be_read_shows_nothing() -> None:
    observed = Observed()
    await numbers(observed)
    observed.note(A, frame(0), Unreadable("no JPEG"))
    assert await numbers(observed) == []


@story
async def test_only_the_last_are_kept() -> None:
    observed = Observed()
    await numbers(observed)
    for seq in range(KEPT + 5):
        observed.note(A, frame(seq), observation())
    assert await numbers(observed) == list(range(6, KEPT + 6))


@story
async def test_who_does_not_ask_any_more_is_forgotten() -> None:
    clock = FakeClock()
    observed = Observed(monotonic=clock)
    await numbers(observed)
    clock.advance(ASKED_S)
    observed.forget()
    observed.note(A, frame(0), observation())
    assert await numbers(observed) == [1]
    clock.advance(ASKED_S + 1)
    observed.forget()
    observed.note(A, frame(1), observation())
    assert await numbers(observed) == []
