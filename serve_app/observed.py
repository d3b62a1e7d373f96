"""What the models saw in the frames of a vehicle, for those who watch it; kept for as long as somebody asks."""

from __future__ import annotations

import asyncio
import time
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from models.types import Frame, Observation, Unreadable

KEPT = 64
"""Of a vehicle; who asks later than that misses some."""
ASKED_S = 10.0
"""Nobody has asked for so long: nobody watches."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in a frame.

    Args:
        number: Counts what was seen of the vehicle since somebody watches it.
        captured_s: When it was captured, seconds since the trip opened.
        frame: CRC-32 of the JPEG, by which it is known again.
        observation: What both models say.
    """

    number: int
    captured_s: float
    frame: int
    observation: Observation


@dataclass(slots=True)
class _Watched:
    asked_s: float
    number: int = 0
    seen: deque[Seen] = field(default_factory=lambda: deque(maxlen=KEPT))
    more: asyncio.Event = field(default_factory=asyncio.Event)


class Observed:
    """Of all vehicles that are watched. On one event loop.

    Args:
        monotonic: Seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._watched: dict[uuid.UUID, _Watched] = {}

    def note(self, vehicle: uuid.UUID, frame: Frame, answer: Observation | Unreadable) -> None:
        """What a Detector said of a frame; forgotten at once unless somebody watches."""
        watched = self._watched.get(vehicle)
        if watched is None or isinstance(answer, Unreadable):
            return
        watched.number += 1
        watched.seen.append(Seen(watched.number, frame.captured_s, zlib.crc32(frame.jpeg), answer))
        watched.more.set()

    async def after(self, vehicle: uuid.UUID, number: int, patience_s: float) -> Sequence[Seen]:
        """What was seen after `number`, oldest first; waits for some, and answers with none when that takes too long.

        Args:
            vehicle: Whose.
            number: Of the last that is known; of an earlier watch or another Gateway: all that is kept.
            patience_s: To wait.
        """
        watched = self._watched.setdefault(vehicle, _Watched(self._monotonic()))
        watched.asked_s = self._monotonic() + patience_s
        if not watched.seen or watched.number == number:
            watched.more.clear()
            try:
                async with asyncio.timeout(patience_s):
                    await watched.more.wait()
            except TimeoutError:
                return ()
        known = number if number <= watched.number else 0
        return [one for one in watched.seen if one.number > known]

    def forget(self) -> None:
        """Those whom nobody watches any more; to be called now and then."""
        now_s = self._monotonic()
        for vehicle in [one for one, watched in self._watched.items() if now_s - watched.asked_s > ASKED_S]:
            del self._watched[vehicle]
