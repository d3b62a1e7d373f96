"""Around a Detector whose speed and sight are known: load, a flood, a trip's lines in the logs, a broker that goes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import statistics
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.serve.flood import (
    FLOOD_FPS,
    FLOOD_S,
    MODEST,
    MODEST_FPS,
    drive,
    flood,
    hearing_alerts,
    settled,
    streams,
    watching,
)
from tests.serve.rows import seqs
from tests.serve.service import Devices, Service, blank, running, sha256
from tests.serve.slow_app import marked
from tests.waiting import eventually

CONFIG = Path(__file__).with_name("slow_config.yaml")
STEPS = {
    "opened": "Gateway",
    "dropped (not_jpeg)": "Gateway",
    "closed (device) after 20 frames; dropped: not_jpeg 3": "Gateway",
    "begins with part 1": "Vehicle",
    "ended (device) with 20 frames, 5 flagged": "Vehicle",
    "encoded ": "Vehicle",
    "uploaded ": "Vehicle",
    "stored ": "Vehicle",
}
Slow = tuple[Service, servers.Server]


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slow]:
    """A service that says everything in JSON, and its broker; the last test ends it."""
    # mosquitto, since the embedded broker keeps megabytes of its own in the Gateway's process
    with (
        servers.mosquitto() as broker,
        running(
            tmp_path_factory.mktemp("slow"),
            config=CONFIG,
            MQTT_BROKER_URL="127.0.0.1",
            MQTT_BROKER_PORT=str(broker.port),
            STREAM_IDLE_TIMEOUT_S="600",
            RAY_LOGGING_CONFIG_ENCODING="JSON",
        ) as service,
    ):
        yield service, broker


def test_a_flood_from_one_vehicle_costs_the_others_nothing(slow: Slow) -> None:
    service, _ = slow
    with Devices(service.mqtt_port) as devices, hearing_alerts(service.mqtt_port) as alerts:
        flooder, *modest = (uuid.uuid4() for _ in range(1 + MODEST))
        for vehicle in (flooder, *modest):
            devices.open(vehicle)
        own = {str(vehicle) for vehicle in (flooder, *modest)}
        assert eventually(lambda: {one["vehicle"] for one in streams(service) if one["pid"] is not None} >= own, 60)

        calm = drive(devices, modest, seed=1)
        with watching(service, modest) as watch:
            time.sleep(1.0)
            before_mb = max(watch.rss_mb)
            thread = threading.Thread(target=flood, args=(service.mqtt_port, flooder))
            thread.start()
            in_flood = drive(devices, modest, seed=2)
            thread.join()
            assert eventually(lambda: {one["vehicle"] for one in streams(service) if one["backlog"] == 0} >= own, 60)

        sent = FLOOD_FPS * FLOOD_S
        of_flooder = settled(service, flooder)
        print(f"\nflooder: {sent} frames sent, {of_flooder['flagged']} looked at, dropped: {of_flooder['dropped']}")
        print(f"Gateway: {before_mb:.0f} MB before the flood, {max(watch.rss_mb):.0f} MB at most in it")
        for name, driven in {"without": calm, "with": in_flood}.items():
            delays_ms = [
                1000 * (alerts[f"alert/{v}", label].pop(0) - at_s) for (v, label), at_s in driven.shown_s.items()
            ]
            print(
                f"publish -> alert {name} the flood: median {statistics.median(delays_ms):.0f} ms, "
                f"at most {max(delays_ms):.0f} ms ({len(delays_ms)} alerts)"
            )
        usual, most = statistics.median(watch.backlogs), max(watch.backlogs)
        print(f"backlogs of the others: usually {usual:.0f} frames, at most {most}")

        for vehicle in modest:
            frames = calm.frames[vehicle] + in_flood.frames[vehicle]
            stream = settled(service, vehicle)
            assert stream["dropped"] == {}
            assert (stream["frames"], stream["flagged"]) == (len(frames), len(frames)), "all of them are looked at"
            assert devices.hashes(vehicle) == [sha256(frame) for frame in frames], "and relayed"
        assert usual <= MODEST_FPS, "a second's frames; the flooder's mailbox is full"
        assert list(of_flooder["dropped"]) == ["mailbox_full"]
        assert of_flooder["frames"] == sent
        assert of_flooder["flagged"] + of_flooder["dropped"]["mailbox_full"] == sent, "looked at or counted"
        assert max(watch.rss_mb) - before_mb < 60
        for vehicle in (flooder, *modest):
            devices.close(vehicle)


def test_detectors_go_from_one_to_two_and_back_to_one(slow: Slow) -> None:
    service, _ = slow
    assert eventually(lambda: _replicas(service) == 1, 60)
    with Devices(service.mqtt_port) as devices:
        seen: list[int] = []
        done = threading.Event()
        watcher = threading.Thread(target=_watch_replicas, args=(service, seen, done))
        watcher.start()
        vehicles = [uuid.uuid4() for _ in range(8)]
        for vehicle in vehicles:
            devices.open(vehicle)
        pictures = blank(30) * 2
        for _ in range(15):  # 120 frames a second, where one replica does 50 and two do 100
            devices.play(dict.fromkeys(vehicles, pictures), 15)
            if 2 in seen:
                break
        for vehicle in vehicles:
            devices.close(vehicle)
        eventually(lambda: len(seen) >= 3, 90)
        done.set()
        watcher.join()
        print(f"\nDetector replicas: {' -> '.join(map(str, seen))}")
        assert seen == [1, 2, 1]


def test_a_trip_is_on_a_line_of_each_step_with_its_vehicle(slow: Slow) -> None:
    service, _ = slow
    vehicle, calm = uuid.uuid4(), uuid.uuid4()
    logs = service.ray_session / "logs"
    with Devices(service.mqtt_port) as devices:
        trips = {one: _drive_flagged(service, devices, one, flagged=one == vehicle) for one in (vehicle, calm)}
    # Ray may write a moment later than it answers.
    told = eventually(lambda: _ending_with(_about(logs, trips[vehicle]), "stored "), 60)
    told_of_calm = eventually(lambda: _ending_with(_about(logs, trips[calm]), "stored, without footage"), 60)
    url = service.json(f"/v1/vehicles/{vehicle}/videos")["items"][0]["url"]

    assert trips[vehicle] in url, "the row leads to the lines"
    assert {line["vehicle"] for line in told} == {str(vehicle)}
    assert {line["vehicle"] for line in told_of_calm} == {str(calm)}
    for step, process in STEPS.items():
        [line] = [line for line in told if step in line["message"]]
        assert line["process"] == process
    assert len(told) == len(STEPS), "one line a step, none a frame"

    def console() -> list[str]:
        lines = [line for line in service.log.read_text().splitlines() if trips[vehicle] in line]
        return sorted(json.loads(line)["message"] for line in lines)

    messages = sorted(line["message"] for line in told)
    assert eventually(lambda: console() == messages), console()
    assert '"process": "run"' in service.log.read_text()
    serves = [path.read_text() for path in (logs / "serve").glob("replica_*.log")]
    assert serves and all(json.loads(line) for text in serves for line in text.splitlines())


def test_a_broker_that_was_away_is_found_again_and_the_open_trip_is_stored_at_the_orderly_end(slow: Slow) -> None:
    service, broker = slow
    vehicle = uuid.uuid4()
    frames = [marked(picture, "phone") for picture in blank(40)]
    with Devices(broker.port) as devices:
        devices.open(vehicle)
        devices.play({vehicle: frames[:10]}, 10)
        assert eventually(lambda: len(devices.hashes(vehicle)) == 10)
    broker.stop()
    assert eventually(lambda: service.get("/healthz")[0] == 503)
    broker.start()
    assert eventually(lambda: service.get("/healthz")[0] == 200)
    with Devices(broker.port) as devices:
        devices.play({vehicle: frames[10:]}, 10)
        assert eventually(lambda: devices.hashes(vehicle) == [sha256(frame) for frame in frames[10:]])
        assert service.json(f"/v1/streams/{vehicle}")["frames"] == len(frames)
    assert service.stop() == 0, "every trip is stored"
    data = Path(service.environ["DATA_DIR"])
    with contextlib.closing(sqlite3.connect(data / "dms.sqlite3")) as database:
        database.row_factory = sqlite3.Row
        rows = database.execute(
            "SELECT alerts.*, url FROM alerts JOIN videos ON videos.id = video_id "
            "JOIN vehicles ON vehicles.id = vehicle_id WHERE vehicles.uuid = ? ORDER BY time, alerts.id",
            [str(vehicle)],
        ).fetchall()
    [url] = {row["url"] for row in rows}
    assert seqs([dict(row) for row in rows], url) == list(range(len(frames)))
    assert (data / "footage" / url.split("/footage/")[1]).stat().st_size > 10_000


def _watch_replicas(service: Service, seen: list[int], done: threading.Event) -> None:
    while not done.is_set():
        replicas = _replicas(service)
        if replicas and seen[-1:] != [replicas]:
            seen.append(replicas)
        time.sleep(0.2)


def _replicas(service: Service) -> int:
    health = service.json("/healthz")
    return int(health["detector_replicas"]) if health else 0


def _drive_flagged(service: Service, devices: Devices, vehicle: uuid.UUID, *, flagged: bool) -> str:
    """A trip of 20 frames, of which some show a phone, and three that are none; its UUID."""
    frames = blank(20)
    if flagged:
        frames[5:10] = [marked(frame, "phone") for frame in frames[5:10]]
    devices.open(vehicle)
    devices.play({vehicle: [*frames[:10], *([b"junk"] * 3), *frames[10:]]}, 10)
    stream: Any = eventually(lambda: (s := service.json(f"/v1/streams/{vehicle}")) and s["frames"] == 20 and s)
    devices.close(vehicle)
    return str(stream["trip"])


def _about(logs: Path, trip: str) -> list[dict[str, Any]]:
    """Every line of our processes with the trip in it, in order of time; each must be JSON that knows it."""
    lines = [line for path in logs.glob("worker-*") for line in path.read_text().splitlines() if trip in line]
    told: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert all(line["trip"] == trip for line in told), "as a field, not only in the text"
    return sorted(told, key=lambda line: str(line["time"]))


def _ending_with(told: list[dict[str, Any]], step: str) -> list[dict[str, Any]]:
    return told if told and step in told[-1]["message"] else []
