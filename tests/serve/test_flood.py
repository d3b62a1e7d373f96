"""One vehicle floods, and the others hardly notice: nothing of theirs is dropped, and the Gateway holds little."""

from __future__ import annotations

import statistics
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from models.types import Label
from tests import servers
from tests.serve.service import Devices, Service, blank, running, sha256
from tests.serve.slow_app import marked
from tests.waiting import eventually

CONFIG = Path(__file__).with_name("slow_config.yaml")
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


def test_a_flood_from_one_vehicle_costs_the_others_nothing(tmp_path: Path, mosquitto: servers.Server) -> None:
    # mosquitto, since the embedded broker keeps megabytes of its own in the Gateway's process
    settings = {"MQTT_BROKER_URL": "127.0.0.1", "MQTT_BROKER_PORT": str(mosquitto.port), "STREAM_IDLE_TIMEOUT_S": "600"}
    with (
        running(tmp_path, config=_one_detector(tmp_path), **settings) as service,
        Devices(service.mqtt_port) as devices,
        _alerts(service.mqtt_port) as alerts,
    ):
        flooder, *modest = (uuid.uuid4() for _ in range(1 + MODEST))
        for vehicle in (flooder, *modest):
            devices.open(vehicle)
        assert eventually(lambda: sum(one["pid"] is not None for one in _streams(service)) == 1 + MODEST, 60)

        calm = _drive(devices, modest, seed=1)
        with _watch(service, modest) as watch:
            time.sleep(1.0)
            before_mb = max(watch.rss_mb)
            thread = threading.Thread(target=_flood, args=(service.mqtt_port, flooder))
            thread.start()
            flood = _drive(devices, modest, seed=2)
            thread.join()
            assert eventually(lambda: sum(one["backlog"] == 0 for one in _streams(service)) == 1 + MODEST, 60)

        sent = FLOOD_FPS * FLOOD_S
        of_flooder = _settled(service, flooder)
        print(f"\nflooder: {sent} frames sent, {of_flooder['flagged']} looked at, dropped: {of_flooder['dropped']}")
        print(f"Gateway: {before_mb:.0f} MB before the flood, {max(watch.rss_mb):.0f} MB at most in it")
        for name, drive in {"without": calm, "with": flood}.items():
            delays_ms = [
                1000 * (alerts[f"alert/{v}", label].pop(0) - at_s) for (v, label), at_s in drive.shown_s.items()
            ]
            print(
                f"publish -> alert {name} the flood: median {statistics.median(delays_ms):.0f} ms, "
                f"at most {max(delays_ms):.0f} ms ({len(delays_ms)} alerts)"
            )
        usual, most = statistics.median(watch.backlogs), max(watch.backlogs)
        print(f"backlogs of the others: usually {usual:.0f} frames, at most {most}")

        for vehicle in modest:
            frames = calm.frames[vehicle] + flood.frames[vehicle]
            stream = _settled(service, vehicle)
            assert stream["dropped"] == {}
            assert (stream["frames"], stream["flagged"]) == (len(frames), len(frames)), "all of them are looked at"
            assert devices.hashes(vehicle) == [sha256(frame) for frame in frames], "and relayed"
        assert usual <= MODEST_FPS, "a second's frames; the flooder's mailbox is full"
        assert list(of_flooder["dropped"]) == ["mailbox_full"]
        assert of_flooder["frames"] == sent
        assert of_flooder["flagged"] + of_flooder["dropped"]["mailbox_full"] == sent, "looked at or counted"
        assert max(watch.rss_mb) - before_mb < 60


def _one_detector(folder: Path) -> Path:
    """slow_config.yaml without its second Detector: 50 frames a second, whatever comes."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    [detector] = (one for one in config["applications"][0]["deployments"] if one["name"] == "Detector")
    del detector["autoscaling_config"]
    detector["num_replicas"] = 1
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def _drive(devices: Devices, vehicles: Sequence[uuid.UUID], *, seed: int) -> Drive:
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


def _flood(port: int, vehicle: uuid.UUID) -> None:
    """Ten times what the Detector can do, on a connection of its own."""
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


def _settled(service: Service, vehicle: uuid.UUID) -> dict[str, Any]:
    """The stream, once everything of it has been looked at or dropped."""

    def look() -> dict[str, Any]:
        [stream] = [one for one in _streams(service) if one["vehicle"] == str(vehicle)]
        return stream

    assert eventually(lambda: (s := look())["flagged"] + sum(s["dropped"].values()) == s["frames"]), look()
    return look()


def _streams(service: Service) -> list[dict[str, Any]]:
    """The open streams; a busy machine may take its time to answer."""
    return eventually(lambda: service.json("/v1/streams")) or []


@contextmanager
def _watch(service: Service, vehicles: Sequence[uuid.UUID]) -> Iterator[Watch]:
    """Look at the Gateway's memory and the vehicles' backlogs all the time."""
    watch, done = Watch(), threading.Event()
    gateway = service.replica("Gateway")
    names = {str(vehicle) for vehicle in vehicles}

    def look() -> None:
        while not done.wait(0.1):
            watch.rss_mb.append(gateway.memory_info().rss / MB)
            watch.backlogs += [one["backlog"] for one in _streams(service) if one["vehicle"] in names]

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        done.set()
        thread.join()


@contextmanager
def _alerts(port: int) -> Iterator[Alerts]:
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
