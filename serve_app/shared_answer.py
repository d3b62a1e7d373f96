"""An answer that many ask for, found once for all who wait: one asking at a time, however many look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class SharedAnswer(Generic[_T]):
    """On one event loop. No answer is older than its question: who comes while one is looked for waits for the next.

    Args:
        ask: Finds the answer.
    """

    def __init__(self, ask: Callable[[], Awaitable[_T]]) -> None:
        self._ask = ask
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[_T] | None = None  # has not begun to ask

    async def get(self) -> _T:
        """The answer, or what asking raised."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._find(), name="shared answer")
        return await asyncio.shield(self._next)

    async def _find(self) -> _T:
        async with self._turn:
            self._next = None
            return await self._ask()
