"""A simulated vehicle at the broker: a connection of its own, MQTT 3.1.1, `close_stream` as its last will."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

ANSWER_TIMEOUT_S = 10.0
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
        frames: Frames handed to the connection, but for those that a reboot took from it.
        lost: Frames dropped on purpose.
        missed: Frames that fell due, or waited in the connection, while it had no power.
        unsent: Frames given up because the connection was gone, not there again or did not keep up.
        sent_bytes: Of the frames.
        seconds: From the first frame to the last.
        reboots: How often it lost its power.
        broken: How often its connection broke without that.
        late_s: The worst that a frame was behind its time.
        put_off_s: By how much the rest was put off in all, because more than `MAX_BURST_S` were missed.
        closed: Whether the broker acknowledged `close_stream`, or its last will said so for a vehicle without power.
    """

    vehicle: uuid.UUID
    frames: int
    lost: int
    missed: int
    unsent: int
    sent_bytes: int
    seconds: float
    reboots: int
    broken: int
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
        if self.reboots:
            line += f", {self.missed} missed in {self.reboots} reboots"
        if self.unsent:
            line += f", {self.unsent} not sent for want of a connection"
        return line if self.closed else f"{line}, close_stream NOT acknowledged"


class Device:
    """A vehicle: open from `with` to its end, also over a broken connection, after which it opens its stream anew.

    Args:
        vehicle: Its UUID.
        host: Of the broker.
        port: Of the broker.
        security: User and TLS.
        on_send: Told of each frame just before it goes out.
    """

    def __init__(
        self, vehicle: uuid.UUID, host: str, port: int, security: Security, on_send: Callable[[bytes], object]
    ) -> None:
        self.lost = 0
        self._vehicle = str(vehicle)
        self._topic = f"stream/{vehicle}"
        self._broker = f"{host}:{port}"
        self._address = host, port
        self._security = security
        self._on_send = on_send
        self._frames = self._missed = self._unsent = self._bytes = self._reboots = self._broken = 0
        self._first_s = self._last_s = 0.0
        self._pending: deque[tuple[mqtt.MQTTMessageInfo, int]] = deque()  # with the frame's bytes
        self._answered = threading.Event()
        self._opened: mqtt.MQTTMessageInfo | None = None
        self._has_power = True
        self._refused = ""
        self._closed = False
        self._client = self._new_client()

    def __enter__(self) -> Self:
        connect(self._client, *self._address)
        self._client.loop_start()
        if fault := self._fault():
            self._leave()
            raise BrokerError(f"broker {self._broker}: {fault}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._has_power:
            self._closed = True
            return
        self._answered.wait(ANSWER_TIMEOUT_S)  # it may just be coming back
        self._closed = _acknowledged(self._client.publish("close_stream", self._vehicle, qos=1))
        self._leave()

    def send(self, jpeg: bytes) -> None:
        """Send a frame, or give it up where the connection is gone or does not keep up."""
        if not self._has_power:
            self._boot()
        pending = self._pending
        while pending and pending[0][0].is_published():
            pending.popleft()
        info = None
        if self._opened is not None and len(pending) < _MAX_PENDING:
            self._on_send(jpeg)
            info = self._client.publish(self._topic, jpeg, qos=0)
        if info is None or info.rc != mqtt.MQTT_ERR_SUCCESS:
            self._unsent += 1
            return
        pending.append((info, len(jpeg)))
        self._last_s = time.monotonic()
        self._first_s = self._first_s or self._last_s
        self._frames += 1
        self._bytes += len(jpeg)

    def miss(self) -> None:
        """Have no power when a frame falls due; the first time it vanishes, and the broker sends its last will."""
        if self._has_power:
            self._vanish()
        self._missed += 1

    def sent(self, *, late_s: float, put_off_s: float) -> Sent:
        """What it sent, given what its clock says."""
        return Sent(
            vehicle=uuid.UUID(self._vehicle),
            frames=self._frames,
            lost=self.lost,
            missed=self._missed,
            unsent=self._unsent,
            sent_bytes=self._bytes,
            seconds=self._last_s - self._first_s,
            reboots=self._reboots,
            broken=self._broken,
            late_s=late_s,
            put_off_s=put_off_s,
            closed=self._closed,
        )

    def _new_client(self) -> mqtt.Client:
        client = new_client(f"simulated-{self._vehicle}", self._security, self._broker)
        client.reconnect_delay_set(max_delay=_MAX_RECONNECT_S)
        client.will_set("close_stream", self._vehicle, qos=1)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        return client

    def _vanish(self) -> None:
        """Cut the connection without a word, and lose what it had not taken yet."""
        self._has_power = False
        self._reboots += 1
        pending = self._pending
        cut: Any = self._client.socket()  # paho knows of others that have no `shutdown`, which are not ours
        if cut is not None:
            # What the kernel has is delivered, so that every other frame can be accounted for.
            with contextlib.suppress(OSError):
                cut.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(AttributeError):  # of paho, when its thread ends just then
            self._client.loop_stop()
        stuck = [size for info, size in pending if not info.is_published()]
        self._frames -= len(stuck)
        self._bytes -= sum(stuck)
        self._missed += len(stuck)

    def _boot(self) -> None:
        """Come back with nothing in memory; the stream is opened in the background."""
        self._has_power = True
        self._opened = None
        self._pending = deque()
        self._answered.clear()
        self._client = self._new_client()
        self._client.connect_async(*self._address)
        self._client.loop_start()

    def _fault(self) -> str:
        """What keeps the stream from being open, after waiting for it; empty: nothing."""
        if not self._answered.wait(ANSWER_TIMEOUT_S):
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

    def _on_disconnect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._opened = None
        if not self._has_power:
            client.loop_stop()  # on its own thread: it must not connect again
            return
        self._broken += reason.is_failure
        # What a connection had not sent when it broke, nobody tells. A new list, as `send` may be at the old one.
        self._pending = deque()


def new_client(name: str, security: Security, broker: str) -> mqtt.Client:
    """A client of the broker that is not connected yet.

    Args:
        name: Its client id.
        security: User and TLS.
        broker: For the error's text.

    Raises:
        BrokerError: The TLS files cannot be used.
    """
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv311)
    client.username_pw_set(security.username, security.password)
    if security.tls:
        ca, cert, key = (str(file) if file else None for file in (security.ca, security.cert, security.key))
        try:
            client.tls_set(ca_certs=ca, certfile=cert, keyfile=key)
        except (OSError, ValueError) as error:
            raise BrokerError(f"broker {broker}: the TLS files cannot be used: {error}") from error
    return client


def connect(client: mqtt.Client, host: str, port: int) -> None:
    """Connect.

    Raises:
        BrokerError: The broker cannot be reached.
    """
    try:
        client.connect(host, port)
    except (OSError, UnicodeError) as error:  # UnicodeError: no host can have such a name
        reason = getattr(error, "strerror", None) or error
        raise BrokerError(f"broker {host}:{port}: cannot be reached: {reason}") from error


def _acknowledged(info: mqtt.MQTTMessageInfo) -> bool:
    try:
        info.wait_for_publish(ANSWER_TIMEOUT_S)
        return info.is_published()
    except (RuntimeError, ValueError):
        # How paho says that there is no connection, or that its queue is full.
        return False
