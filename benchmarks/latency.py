"""How long a frame's relay and an alert take, beside the broker's own echo and the bare models.

    python -m benchmarks.latency [--vehicles 8] [--fps 10] [--seconds 60]

Every vehicle sends an attentive driver, and now and then one frame with a cup, whose alert is waited for. Echoes go
through the broker alone at the same time, as large as a relayed frame. All clocks are this process's.
"""

from __future__ import annotations

import argparse
import threading
import time
import uuid
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.frames import calm_and_drink
from benchmarks.service import SETTLE_S, Measured, service
from serve_app.flow import ALERT_INTERVAL_S

KINDS = ("echo", "relay", "alert")
ECHOES_PER_S = 10.0
DRINK_EVERY_S = ALERT_INTERVAL_S + 1.0
"""A vehicle's same alert is not said more often."""
WARM_FPS = 2.0
"""Until the vehicles' processes are there: no backlog may be left of that time."""


@dataclass(slots=True)
class Latencies:
    """Seconds from publish to seen, one for each message that came.

    Args:
        relay: Of frames, on `base64/`.
        alert: Of the frames with a cup, on `alert/`.
        echo: Of messages to the broker and back.
        missed: Messages of which nothing was seen.
    """

    relay: list[float] = field(default_factory=list)
    alert: list[float] = field(default_factory=list)
    echo: list[float] = field(default_factory=list)
    missed: int = 0

    def add(self, others: Latencies) -> None:
        """Those of another measurement."""
        for kind in KINDS:
            getattr(self, kind).extend(getattr(others, kind))
        self.missed += others.missed


class _Listener:
    """Notes when what was sent is seen."""

    def __init__(self, port: int) -> None:
        self.latencies = Latencies()
        self.sent: dict[str, float] = {}  # by what marks a message; what has been seen is taken out
        self.counts = False
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.on_message = self._seen
        ready = threading.Event()
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.connect("127.0.0.1", port)
        self.client.subscribe([("base64/#", 0), ("alert/#", 1), ("echo", 0)])
        self.client.loop_start()
        ready.wait(10)

    def _seen(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        now_s = time.perf_counter()
        kind, _, vehicle = message.topic.partition("/")
        if kind == "alert":
            mark, into = f"alert {vehicle}", self.latencies.alert
        elif kind == "echo":
            mark, into = bytes(message.payload).rpartition(b"#")[2].decode(), self.latencies.echo
        else:
            mark, into = b64decode(message.payload).rpartition(b"#")[2].decode("latin-1"), self.latencies.relay
        sent_s = self.sent.pop(mark, None)
        if sent_s is not None and self.counts:
            into.append(now_s - sent_s)


def measure(
    measured: Measured,
    calm: bytes,
    drink: bytes,
    *,
    vehicles: int,
    fps: float,
    seconds: float,
    open_already: int = 0,
    begin: Callable[[], object] = lambda: None,
) -> Latencies:
    """Play the vehicles.

    Args:
        measured: The service, warm.
        calm: A JPEG in which nothing is to be said.
        drink: A JPEG in which a bottle is seen.
        vehicles: So many have a trip open.
        fps: Each one's frames a second.
        seconds: To measure for, after the actors have started.
        open_already: Other vehicles, which end before this does.
        begin: Called when measuring begins; returns at once.
    """
    listener = _Listener(measured.broker_port)
    senders = {uuid.uuid4(): mqtt.Client(CallbackAPIVersion.VERSION2) for _ in range(vehicles)}
    for vehicle, client in senders.items():
        client.connect("127.0.0.1", measured.broker_port)
        client.loop_start()
        client.publish("open_stream", str(vehicle), qos=1).wait_for_publish(10)
    warm_s = time.perf_counter() + SETTLE_S
    while time.perf_counter() < warm_s and not measured.settled(vehicles + open_already):
        for vehicle, client in senders.items():
            client.publish(f"stream/{vehicle}", calm + b"#warm")
        time.sleep(1 / WARM_FPS)
    begin()
    listener.counts = True
    echo = b64encode(calm)
    began_s = time.perf_counter()
    due = deque((i / vehicles / fps, vehicle) for i, vehicle in enumerate(senders))  # seconds from then
    drinks = {vehicle: i / vehicles * DRINK_EVERY_S for i, vehicle in enumerate(senders)}
    number, next_echo_s = 0, 0.0
    while (at_s := due[0][0]) < seconds:
        time.sleep(max(0.0, began_s + at_s - time.perf_counter()))
        _, vehicle = due.popleft()
        due.append((at_s + 1 / fps, vehicle))
        number += 1
        jpeg = calm
        if at_s >= drinks[vehicle]:
            drinks[vehicle] += DRINK_EVERY_S
            jpeg = drink
            listener.sent[f"alert {vehicle}"] = time.perf_counter()
        listener.sent[str(number)] = time.perf_counter()
        senders[vehicle].publish(f"stream/{vehicle}", jpeg + b"#%d" % number)
        if at_s >= next_echo_s:
            next_echo_s += 1 / ECHOES_PER_S
            number += 1
            listener.sent[str(number)] = time.perf_counter()
            senders[vehicle].publish("echo", echo + b"#%d" % number)
    for vehicle, client in senders.items():
        client.publish("close_stream", str(vehicle), qos=1).wait_for_publish(10)
        client.disconnect()
        client.loop_stop()
    measured.settle()  # also what waits in the mailboxes is still to be seen
    listener.client.disconnect()
    listener.client.loop_stop()
    listener.latencies.missed = len(listener.sent)
    return listener.latencies


def percentiles_ms(seconds: Sequence[float]) -> tuple[float, float, float]:
    """p50, p95 and p99, in milliseconds."""
    p50, p95, p99 = (float(p) for p in np.percentile(np.array(seconds) * 1000, (50, 95, 99)))
    return p50, p95, p99


def main() -> None:
    """Print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vehicles", type=int, default=8)
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    calm, drink = calm_and_drink()
    with service() as measured:
        found = measure(
            measured, calm, drink, vehicles=arguments.vehicles, fps=arguments.fps, seconds=arguments.seconds
        )
    for name in KINDS:
        values = getattr(found, name)
        print(f"{name}: {len(values)} seen, ms at p50 / p95 / p99:", *(f"{p:.1f}" for p in percentiles_ms(values)))
    print(f"{found.missed} not seen")


if __name__ == "__main__":
    main()
