"""An answer that many ask for."""

from __future__ import annotations

import asyncio

import pytest

from serve_app.shared_answer import SharedAnswer
from tests.fakes.clock import FakeClock


class Asked:
    """Counts how often it was asked, and takes a moment each time."""

    def __init__(self, *failures: Exception) -> None:
        self.times = 0
        self.failures = list(failures)

    async def __call__(self) -> int:
        self.times += 1
        await asyncio.sleep(0.01)
        if self.failures:
            raise self.failures.pop(0)
        return self.times


def test_all_who_come_together_get_one_answer() -> None:
    async def story() -> None:
        asked, clock = Asked(), FakeClock()
        shared = SharedAnswer(asked, keep_s=0.5, monotonic=clock)
        assert await asyncio.gather(*(shared.get() for _ in range(20))) == [1] * 20
        clock.advance(0.4)
        assert await shared.get() == 1
        clock.advance(0.2)
        assert await shared.get() == 2

    asyncio.run(story())


def test_a_failure_is_not_kept() -> None:
    async def story() -> None:
        shared = SharedAnswer(Asked(OSError("away")), keep_s=60, monotonic=FakeClock())
        with pytest.raises(OSError, match="away"):
            await shared.get()
        assert await shared.get() == 2

    asyncio.run(story())


def test_who_goes_away_takes_the_answer_from_nobody() -> None:
    async def story() -> None:
        shared = SharedAnswer(Asked(), keep_s=60)
        gone, stays = (asyncio.create_task(shared.get()) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == 1

    asyncio.run(story())
