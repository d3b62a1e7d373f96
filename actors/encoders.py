"""A node's places for encoders: when a shift ends all its trips do, and the other vehicles' frames go on coming."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from models.errors import one_line

_log = logging.getLogger(__name__)

ALL_PLACES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
PLACES = max(1, ALL_PLACES // 2)
"""The other half of the cores is for what cannot wait."""
POLL_S = 0.2
LONGEST_WAIT_S = 3600.0
"""Then whoever holds the places hangs, and footage must not wait for that."""
YIELDING = 19
"""Of Unix's niceness, the utmost: stored footage may come later."""


@contextlib.contextmanager
def encoder_place(folder: Path, places: int = PLACES) -> Iterator[None]:
    """Wait for one of the node's places and hold it; whoever is killed has left his.

    A courtesy to the others: where no place can be had in an hour, or none can be asked for, it goes without.

    Args:
        folder: The same for all processes of the node.
        places: So many there are for this one.
    """
    with contextlib.ExitStack() as held:
        try:
            _wait_for_any(folder, places, held)
        except OSError as error:
            _log.warning("encoding without a place among the encoders: %s", one_line(error))
        yield


def yield_cores() -> None:
    """Let everything else go first, the calling thread alone; on Linux, where threads have a niceness."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), YIELDING)


def _wait_for_any(folder: Path, places: int, held: contextlib.ExitStack) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    end_s = time.monotonic() + LONGEST_WAIT_S
    while not _took_any(folder, places, held):
        if time.monotonic() > end_s:
            raise TimeoutError(f"none was free for {LONGEST_WAIT_S:.0f} s")
        time.sleep(POLL_S)


def _took_any(folder: Path, places: int, held: contextlib.ExitStack) -> bool:
    for number in range(places):
        with contextlib.suppress(Timeout):
            held.enter_context(FileLock(folder / f"encoder-{number}.lock").acquire(timeout=0))
            return True
    return False
