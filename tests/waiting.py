"""Waiting for what happens elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], timeout_s: float = 30.0) -> T:
    """The first true value of `look` within the time, else its last one."""
    end_s = time.monotonic() + timeout_s
    while not (value := look()) and time.monotonic() < end_s:
        time.sleep(0.05)
    return value
