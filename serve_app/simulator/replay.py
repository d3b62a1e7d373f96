"""Send pictures as vehicles do: a connection of its own for each, MQTT 3.1.1, `close_stream` as its last will."""

from __future__ import annotations

import contextlib
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from tqdm import tqdm

from serve_app.simulator.source import TimedJpeg

MAX_BURST_S = 1.0
"""Who is late catches up with at most so much at once; what is beyond is put off."""

_TIMEOUT_S = 10.0
_MAX_RECONNECT_S = 5
_MAX_PENDING = 32  # frames of a vehicle that its connection has not taken yet; beyond, they are given up


class BrokerError(Exception):
    """The broker cannot be reached or refuses; the message is one line that names it."""


@dataclass(frozen=True, slots=True)
class Security:
    """How a vehicle shows who it is, and checks who the broker is.

    Args:
        username: None: anonymous.
        password: Of the user.
        tls: Whether the connection is encrypted.
        ca: PEM of the CA that signed the broker's certificate; None: those of the system.
        cert: PEM of the vehicle's certificate.
        key: PEM of its key.
    """

    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """What one vehicle sent.

    Args:
        vehicle: Its UUID.
        frames: Frames handed to the connection.
        lost: Frames dropped on purpose.
        unsent: Frames given up because the connection was gone or did not keep up.
        sent_bytes: Of the frames.
        seconds: From the first frame to the last.
        late_s: The worst that a frame was behind its time.
        put_off_s: By how much the rest was put off in all, because more than `MAX_BURST_S` were missed.
        closed: Whether the broker acknowledged `close_stream`.
    """

    vehicle: uuid.UUID
    frames: int
    lost: int
    unsent: int
    sent_bytes: int
    seconds: float
    late_s: float
    put_off_s: float
    closed: bool

    @property
    def fps(self) -> float:
        """Frames a second that were reached."""
        return (self.frames - 1) / self.seconds if self.seconds > 0 else 0.0

    def __str__(self) -> str:
        line = (
            f"{self.vehicle}: {self.frames} frames, {self.lost} lost on purpose, {self.sent_bytes / 1e6:.1f} MB "
            f"in {self.seconds:.1f} s, {self.fps:.1f} frames/s"
        )
        if self.unsent:
            line += f", {self.unsent} not sent for want of a connection"
        return line if self.closed else f"{line}, close_stream NOT acknowledged"


def replay(
    frames: Iterable[TimedJpeg],
    *,
    vehicles: Sequence[uuid.UUID],
    host: str,
    port: int,
    security: Security | None = None,
    speed: float = 1.0,
    loss: float = 0.0,
    seed: int = 0,
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
        loss: Share of the frames that each vehicle drops, 0..1.
        seed: Says which ones.
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
        devices = [stack.enter_context(_Device(vehicle, host, port, security or Security())) for vehicle in vehicles]
        # Which frames a vehicle loses does not depend on how many others there are.
        luck = [random.Random(f"{seed}/{i}") for i in range(len(devices))]  # noqa: S311 - no secret
        bar = tqdm(frames, total=total, unit=" frames", disable=None if progress is None else not progress)
        previous_s: float | None = None
        with contextlib.suppress(KeyboardInterrupt):
            for frame in bar:
                due_s = frame.at_s / speed
                gap_s = 0.0 if previous_s is None else due_s - previous_s
                previous_s = due_s
                for i, (device, dice) in enumerate(zip(devices, luck, strict=True)):
                    pace.wait_for(due_s + gap_s * i / len(devices))
                    if dice.random() < loss:
                        device.lost += 1
                    else:
                        device.send(frame.jpeg)
    return [device.sent(pace) for device in devices]


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


class _Device:
    """A vehicle: open from `with` to its end, also over a broken connection, after which it opens its stream anew."""

    def __init__(self, vehicle: uuid.UUID, host: str, port: int, security: Security) -> None:
        self.lost = 0
        self._vehicle = str(vehicle)
        self._topic = f"stream/{vehicle}"
        self._broker = f"{host}:{port}"
        self._address = host, port
        self._frames = self._unsent = self._bytes = 0
        self._first_s = self._last_s = 0.0
        self._pending: deque[mqtt.MQTTMessageInfo] = deque()
        self._answered = threading.Event()
        self._opened: mqtt.MQTTMessageInfo | None = None
        self._refused = ""
        self._closed = False
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"simulated-{vehicle}", protocol=mqtt.MQTTv311
        )
        self._client.username_pw_set(security.username, security.password)
        if security.tls:
            ca, cert, key = (str(file) if file else None for file in (security.ca, security.cert, security.key))
            try:
                self._client.tls_set(ca_certs=ca, certfile=cert, keyfile=key)
            except (OSError, ValueError) as error:
                raise BrokerError(f"broker {self._broker}: the TLS files cannot be used: {error}") from error
        self._client.reconnect_delay_set(max_delay=_MAX_RECONNECT_S)
        self._client.will_set("close_stream", self._vehicle, qos=1)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect

    def __enter__(self) -> Self:
        try:
            self._client.connect(*self._address)
        except (OSError, UnicodeError) as error:  # UnicodeError: no host can have such a name
            reason = getattr(error, "strerror", None) or error
            raise BrokerError(f"broker {self._broker}: cannot be reached: {reason}") from error
        self._client.loop_start()
        if fault := self._fault():
            self._leave()
            raise BrokerError(f"broker {self._broker}: {fault}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = _acknowledged(self._client.publish("close_stream", self._vehicle, qos=1))
        self._leave()

    def send(self, jpeg: bytes) -> None:
        """Send a frame, or give it up where the connection is gone or does not keep up."""
        pending = self._pending
        while pending and pending[0].is_published():
            pending.popleft()
        info = None
        if self._opened is not None and len(pending) < _MAX_PENDING:
            info = self._client.publish(self._topic, jpeg, qos=0)
        if info is None or info.rc != mqtt.MQTT_ERR_SUCCESS:
            self._unsent += 1
            return
        pending.append(info)
        self._last_s = time.monotonic()
        self._first_s = self._first_s or self._last_s
        self._frames += 1
        self._bytes += len(jpeg)

    def sent(self, pace: Pace) -> Sent:
        return Sent(
            vehicle=uuid.UUID(self._vehicle),
            frames=self._frames,
            lost=self.lost,
            unsent=self._unsent,
            sent_bytes=self._bytes,
            seconds=self._last_s - self._first_s,
            late_s=pace.late_s,
            put_off_s=pace.put_off_s,
            closed=self._closed,
        )

    def _fault(self) -> str:
        """What keeps the stream from being open, after waiting for it; empty: nothing."""
        if not self._answered.wait(_TIMEOUT_S):
            return "does not answer; is it an MQTT broker?"
        if self._opened is None:
            return f"refuses the connection: {self._refused or 'it was closed at once'}"
        return "" if _acknowledged(self._opened) else "does not acknowledge open_stream"

    def _leave(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refused = str(reason)
        else:
            # No frame goes out before it: `send` waits for `_opened`.
            self._opened = client.publish("open_stream", self._vehicle, qos=1)
        self._answered.set()

    def _on_disconnect(self, _client: mqtt.Client, *_: Any) -> None:
        self._opened = None
        # What a connection had not sent when it broke, nobody tells. A new list, as `send` may be at the old one.
        self._pending = deque()


def _acknowledged(info: mqtt.MQTTMessageInfo) -> bool:
    try:
        info.wait_for_publish(_TIMEOUT_S)
        return info.is_published()
    except (RuntimeError, ValueError):
        # How paho says that there is no connection, or that its queue is full.
        return False
