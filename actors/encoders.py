"""A node's places for encoders: when a shift ends all its trips do, and the other vehicles' frames go on coming."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

PLACES = max(1, (os.cpu_count() or 1) // 2)
"""The other half of the cores is for what cannot wait."""
POLL_S = 0.2
YIELDING = 19
"""Of Unix's niceness, the utmost: stored footage may come later."""


@contextlib.contextmanager
def encoder_place(folder: Path) -> Iterator[None]:
    """Wait for one of the node's places and hold it; whoever is killed has left his.

    Args:
        folder: The same for all processes of the node.

    Raises:
        OSError: Nothing can be written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        while not _took_any(folder, held):
            time.sleep(POLL_S)
        yield


def yield_cores() -> None:
    """Let everything else go first, the calling thread alone; without effect where threads have no niceness."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), YIELDING)


def _took_any(folder: Path, held: contextlib.ExitStack) -> bool:
    for number in range(PLACES):
        with contextlib.suppress(Timeout):
            held.enter_context(FileLock(folder / f"encoder-{number}.lock").acquire(timeout=0))
            return True
    return False
