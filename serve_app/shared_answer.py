"""An answer that many ask for: one asking at a time, and all who come meanwhile, or soon after, get what it found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class SharedAnswer(Generic[_T]):
    """On one event loop.

    Args:
        ask: Finds the answer.
        keep_s: Whoever asks within so long after it was found gets the same.
        monotonic: Seconds.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[_T]], *, keep_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._keep_s = keep_s
        self._monotonic = monotonic
        self._asking: asyncio.Task[_T] | None = None
        self._until_s = 0.0

    async def get(self) -> _T:
        """The answer, or what asking raised."""
        if self._asking is None or (self._asking.done() and self._monotonic() >= self._until_s):
            self._asking = asyncio.get_running_loop().create_task(self._find(), name="shared answer")
        return await asyncio.shield(self._asking)

    async def _find(self) -> _T:
        try:
            answer = await self._ask()
        except BaseException:
            self._until_s = 0.0
            raise
        self._until_s = self._monotonic() + self._keep_s
        return answer
