"""Blocking questions from an event loop: one thread a question at most, however often it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Probe(Generic[_T]):
    """Asks on a thread; who comes while an answer is awaited gets that one, so that nothing piles up behind a stall.

    Args:
        ask: Blocks until it has the answer, or raises.
    """

    def __init__(self, ask: Callable[[], _T]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[_T] | None = None

    async def answer(self, timeout_s: float) -> _T:
        """The answer.

        Raises:
            TimeoutError: Not in time; the question stays asked.
            Exception: What asking raised.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(asyncio.to_thread(self._ask), name="probe")
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(self._asking)
