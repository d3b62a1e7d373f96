"""An answer that many ask for."""

from __future__ import annotations

import asyncio

import pytest

from serve_app.shared_answer import SharedAnswer


class Asked:
    """Counts how often it was asked, and takes a moment each time."""

    def __init__(self, *failures: Exception) -> None:
        self.times = 0
        self.failures = list(failures)

    async def __call__(self) -> int:
        self.times += 1
        answer = self.times
        await asyncio.sleep(0.01)
        if self.failures:
            raise self.failures.pop(0)
        return answer


def test_all_who_wait_get_one_answer_and_none_that_was_begun_before_they_came() -> None:
    async def story() -> None:
        shared = SharedAnswer(Asked())
        first = asyncio.create_task(shared.get(), name="first")
        await asyncio.sleep(0.005)
        assert await asyncio.gather(*(shared.get() for _ in range(20))) == [2] * 20
        assert await first == 1
        assert await shared.get() == 3

    asyncio.run(story())


def test_a_failure_is_told_to_all_and_not_kept() -> None:
    async def story() -> None:
        shared = SharedAnswer(Asked(OSError("away")))
        told = await asyncio.gather(*(shared.get() for _ in range(3)), return_exceptions=True)
        assert [str(one) for one in told] == ["away"] * 3
        assert await shared.get() == 2

    asyncio.run(story())


def test_who_goes_away_takes_the_answer_from_nobody() -> None:
    async def story() -> None:
        shared = SharedAnswer(Asked())
        gone, stays = (asyncio.create_task(shared.get(), name=f"{i}") for i in range(2))
        await asyncio.sleep(0.005)
        gone.cancel()
        assert await stays == 1
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(story())
