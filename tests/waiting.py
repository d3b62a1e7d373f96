"""Waiting for what happens elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], timeout_s: float = 30.0, *, every_s: float = 0.05) -> T:
    """The first true value of `look` within the time, else its last one."""
    end_s = time.monotonic() + timeout_s
    while not (value := look()) and time.monotonic() < end_s:
        time.sleep(every_s)
    return value


async def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Return once it holds; for what happens on the same loop."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen"
        await asyncio.sleep(0.001)
