"""Send pictures as a fleet does, each at its time."""

from __future__ import annotations

import contextlib
import functools
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from tqdm import tqdm

from serve_app.simulator.device import Device, Security, Sent
from serve_app.simulator.schedule import Mishaps, schedule
from serve_app.simulator.source import TimedJpeg

MAX_BURST_S = 1.0
"""Who is late catches up with at most so much at once; what is beyond is put off."""


class Watch(Protocol):
    """Who looks on, as `replay` tells it."""

    def sends(self, vehicle: uuid.UUID, jpeg: bytes) -> None:
        """Hear of a frame just before it goes out."""

    def all_sent(self, frames: int) -> None:
        """Hear that so many frames have gone out; the streams are closed when this returns."""


def replay(
    frames: Iterable[TimedJpeg],
    *,
    vehicles: Sequence[uuid.UUID],
    host: str,
    port: int,
    security: Security | None = None,
    speed: float = 1.0,
    mishaps: Mishaps | None = None,
    watch: Watch | None = None,
    total: int | None = None,
    progress: bool | None = False,
) -> list[Sent]:
    """Open a stream for each vehicle, send all frames at their times, close the streams. Ctrl-C ends it early.

    All vehicles send the same frames, spread over the time between two frames. The times are kept by one clock from
    the first frame on: a frame that is late does not make the next one late.

    Args:
        frames: In order of time; taken one by one, as they are due.
        vehicles: Their UUIDs.
        host: Of the broker.
        port: Of the broker.
        security: User and TLS.
        speed: 2 sends twice as fast as the frames' times say.
        mishaps: What goes wrong on purpose; None: nothing.
        watch: Who looks on.
        total: Number of frames, for the progress bar.
        progress: Whether to show a bar on stderr; None: on a terminal only.

    Returns:
        For each vehicle what it sent.

    Raises:
        BrokerError: The broker cannot be reached, refuses, or does not acknowledge `open_stream` in 10 s.
        SourceError: From `frames`; the streams are closed then.
    """
    pace = Pace()
    with contextlib.ExitStack() as stack:
        devices = [
            stack.enter_context(Device(vehicle, host, port, security or Security(), _telling(watch, vehicle)))
            for vehicle in vehicles
        ]
        bar = tqdm(frames, total=total, unit=" frames", disable=None if progress is None else not progress)
        with contextlib.suppress(KeyboardInterrupt):
            for step in schedule(bar, vehicles=len(devices), speed=speed, mishaps=mishaps or Mishaps()):
                pace.wait_for(step.at_s)
                device = devices[step.vehicle]
                if step.fate == "send":
                    device.send(step.jpeg)
                elif step.fate == "miss":
                    device.miss()
                else:
                    device.lost += 1
        bar.close()
        if watch:
            with contextlib.suppress(KeyboardInterrupt):
                watch.all_sent(sum(one.frames for one in _so_far(devices, pace)))
    return _so_far(devices, pace)


def _telling(watch: Watch | None, vehicle: uuid.UUID) -> Callable[[bytes], object]:
    return functools.partial(watch.sends, vehicle) if watch else lambda _: None


def _so_far(devices: Sequence[Device], pace: Pace) -> list[Sent]:
    return [device.sent(late_s=pace.late_s, put_off_s=pace.put_off_s) for device in devices]


class Pace:
    """One clock for all frames, which starts when the first one is at hand.

    Args:
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.late_s = 0.0
        self.put_off_s = 0.0
        self._clock = clock
        self._sleep = sleep
        self._start_s: float | None = None

    def wait_for(self, due_s: float) -> None:
        """Return at `due_s` seconds of the schedule, or at once when that has passed."""
        now_s = self._clock()
        if self._start_s is None:
            self._start_s = now_s - due_s
        late_s = now_s - (self._start_s + due_s)
        if late_s < 0:
            self._sleep(-late_s)
            return
        self.late_s = max(self.late_s, late_s)
        if late_s > MAX_BURST_S:
            self._start_s += late_s - MAX_BURST_S
            self.put_off_s += late_s - MAX_BURST_S
