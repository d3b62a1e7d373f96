"""Vehicles at a modest rate while another floods, around a Detector of `slow_app`: what they send, and a look at it."""

from __future__ import annotations

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from models.types import Label
from tests.serve.service import Devices, Service, blank
from tests.serve.slow_app import marked
from tests.waiting import eventually

MB = 2**20

FLOOD_FPS, FLOOD_S = 500, 10
MODEST, MODEST_FPS, DRIVE_S = 3, 5, 12
SEEN: Label = "vape"
"""In every frame, so that `flagged` counts what was looked at."""
PROBES: dict[int, Label] = {10: "bottle", 20: "cigarette", 30: "phone", 40: "smoke"}
"""By the frame's number in a drive: what it shows for the first time in 10 s, which is alerted to at once."""

Alerts = dict[tuple[str, str], list[float]]


@dataclass(slots=True)
class Drive:
    """What some vehicles sent: their frames, and when they showed what they are alerted to."""

    frames: dict[uuid.UUID, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    shown_s: dict[tuple[uuid.UUID, Label], float] = field(default_factory=dict)


@dataclass(slots=True)
class Watch:
    """What was seen from outside meanwhile."""

    rss_mb: list[float] = field(default_factory=list)
    backlogs: list[int] = field(default_factory=list)


def drive(devices: Devices, vehicles: Sequence[uuid.UUID], *, seed: int) -> Drive:
    """The vehicles send at their modest rate and show their probes one after the other."""
    drive = Drive()
    began_s = time.monotonic()
    for i, picture in enumerate(blank(DRIVE_S * MODEST_FPS, seed)):
        time.sleep(max(0.0, began_s + i / MODEST_FPS - time.monotonic()))
        for nth, vehicle in enumerate(vehicles):
            probe = PROBES.get(i - nth)
            frame = marked(picture, SEEN, *([probe] if probe else []))
            drive.frames[vehicle].append(frame)
            if probe:
                drive.shown_s[vehicle, probe] = time.monotonic()
            devices.send(f"stream/{vehicle}", frame)
    return drive


def flood(port: int, vehicle: uuid.UUID) -> None:
    """Ten times what one Detector can do, and five times what two can, on a connection of its own."""
    pictures = [marked(picture, SEEN) for picture in blank(30)]
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    began_s = time.monotonic()
    for i in range(FLOOD_FPS * FLOOD_S):
        time.sleep(max(0.0, began_s + i / FLOOD_FPS - time.monotonic()))
        last = client.publish(f"stream/{vehicle}", pictures[i % 30])
    last.wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


def settled(service: Service, vehicle: uuid.UUID) -> dict[str, Any]:
    """The stream, once everything of it has been looked at or dropped."""

    def look() -> dict[str, Any]:
        [stream] = [one for one in streams(service) if one["vehicle"] == str(vehicle)]
        return stream

    assert eventually(lambda: (s := look())["flagged"] + sum(s["dropped"].values()) == s["frames"]), look()
    return look()


def streams(service: Service) -> list[dict[str, Any]]:
    """The open streams; a busy machine may take its time to answer."""
    return eventually(lambda: service.json("/v1/streams")) or []


@contextmanager
def watching(service: Service, vehicles: Sequence[uuid.UUID]) -> Iterator[Watch]:
    """Look at the Gateway's memory and the vehicles' backlogs all the time."""
    watch, done = Watch(), threading.Event()
    gateway = service.replica("Gateway")
    names = {str(vehicle) for vehicle in vehicles}

    def look() -> None:
        while not done.wait(0.1):
            watch.rss_mb.append(gateway.memory_info().rss / MB)
            watch.backlogs += [one["backlog"] for one in streams(service) if one["vehicle"] in names]

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        done.set()
        thread.join()


@contextmanager
def hearing_alerts(port: int) -> Iterator[Alerts]:
    """When each alert was heard, by topic and text; on a connection of its own, beside the relayed frames."""
    heard: Alerts = defaultdict(list)
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: heard[message.topic, message.payload.decode()].append(
        time.monotonic()
    )
    client.connect("127.0.0.1", port)
    client.subscribe("alert/#", qos=1)
    client.loop_start()
    try:
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()
