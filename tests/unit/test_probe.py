"""Blocking questions that pile up nowhere."""

from __future__ import annotations

import asyncio
import threading

import pytest

from serve_app.probe import Probe


def test_who_asks_while_it_is_asked_gets_the_same_answer() -> None:
    go_on = threading.Event()
    asked: list[None] = []

    def ask() -> int:
        asked.append(None)
        assert go_on.wait(5)
        return 7

    async def story() -> None:
        probe = Probe(ask)
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await probe.answer(0.001)
        waiting = [asyncio.ensure_future(probe.answer(5)) for _ in range(3)]
        go_on.set()
        assert await asyncio.gather(*waiting) == [7, 7, 7]
        assert len(asked) == 1
        assert await probe.answer(5) == 7
        assert len(asked) == 2, "a new question after the answer"

    asyncio.run(story())


def test_what_asking_raises_is_raised_and_asked_again() -> None:
    answers = iter([OSError("down"), None])

    def ask() -> int:
        if error := next(answers):
            raise error
        return 7

    async def story() -> None:
        probe = Probe(ask)
        with pytest.raises(OSError, match="down"):
            await probe.answer(5)
        assert await probe.answer(5) == 7

    asyncio.run(story())
