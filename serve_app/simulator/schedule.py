"""When each vehicle of a fleet sends which frame, and which ones it loses: seeded, so that it can be repeated."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from serve_app.simulator.source import TimedJpeg

AWAY_S = (2.0, 8.0)
"""A vehicle that lost its power is away for so long: an ESP32 boots and joins its network in a few seconds."""

Fate = Literal["send", "lose", "miss"]
"""Of a frame: sent, dropped on purpose, or due while its vehicle has no power."""


@dataclass(frozen=True, slots=True)
class Mishaps:
    """What goes wrong on purpose. What happens to a vehicle does not depend on how many others there are.

    Args:
        loss: Share of the frames that each vehicle drops, 0..1.
        jitter_s: Each frame is sent up to so many seconds later than its time; evenly spread, order within a vehicle
            kept.
        reboot_every_s: Mean of the seconds, exponentially spread, that a vehicle drives until it loses its power, for
            `AWAY_S`; None: never.
        seed: Another seed, other mishaps.
    """

    loss: float = 0.0
    jitter_s: float = 0.0
    reboot_every_s: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A frame of a vehicle.

    Args:
        at_s: When, seconds of the schedule.
        vehicle: Its number, from 0.
        fate: What becomes of the frame.
        jpeg: Its bytes.
    """

    at_s: float
    vehicle: int
    fate: Fate
    jpeg: bytes


def schedule(frames: Iterable[TimedJpeg], *, vehicles: int, speed: float, mishaps: Mishaps) -> Iterator[Step]:
    """All vehicles' frames in order of time, spread over the time between two frames.

    Args:
        frames: In order of time; each is taken when all that is due before the next one is expected has been taken.
        vehicles: How many.
        speed: 2 sends twice as fast as the frames' times say; mishaps keep their seconds.
        mishaps: What goes wrong.
    """
    fleet = [_Fate(mishaps, vehicle) for vehicle in range(vehicles)]
    waiting: list[tuple[float, int, Step]] = []
    count = itertools.count()
    previous_s: float | None = None
    for frame in frames:
        due_s = frame.at_s / speed
        gap_s = 0.0 if previous_s is None else due_s - previous_s
        previous_s = due_s
        for vehicle, one in enumerate(fleet):
            at_s, fate = one.of(due_s + gap_s * vehicle / vehicles)
            heapq.heappush(waiting, (at_s, next(count), Step(at_s, vehicle, fate, frame.jpeg)))
        while waiting and waiting[0][0] <= due_s + gap_s:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


class _Fate:
    """What becomes of a vehicle's frames."""

    def __init__(self, mishaps: Mishaps, vehicle: int) -> None:
        self._mishaps = mishaps
        # One for each mishap: which frames are lost does not depend on the others.
        self._loss, self._jitter, self._power = (
            random.Random(f"{mishaps.seed}/{vehicle}{what}")  # noqa: S311 - no secret
            for what in ("", "/jitter", "/power")
        )
        self._last_s = 0.0
        self._off_s = self._on_s = 0.0
        self._next_outage()

    def of(self, due_s: float) -> tuple[float, Fate]:
        """When a frame is sent that is due then, and whether it is."""
        at_s = due_s + (self._jitter.uniform(0, self._mishaps.jitter_s) if self._mishaps.jitter_s else 0.0)
        at_s = self._last_s = max(self._last_s, at_s)
        lost = self._loss.random() < self._mishaps.loss
        while at_s >= self._on_s:
            self._next_outage()
        if at_s >= self._off_s:
            return at_s, "miss"
        return at_s, "lose" if lost else "send"

    def _next_outage(self) -> None:
        if self._mishaps.reboot_every_s is None:
            self._off_s = self._on_s = float("inf")
            return
        self._off_s = self._on_s + self._power.expovariate(1 / self._mishaps.reboot_every_s)
        self._on_s = self._off_s + self._power.uniform(*AWAY_S)
