"""Stories of the running service: every byte relayed, drivers kept apart, junk, listening ports, the orderly end."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import uuid
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from serve_app.intake import LOG_INTERVAL_S
from serve_app.ready_processes import READY
from serve_app.synthetic import FPS, Clip
from tests import servers
from tests.serve.service import PROJECT, Devices, Service, blank, sha256
from tests.waiting import eventually

FRAMES_PER_S = 15
RELAY_S = 30
MB = 2**20
GOOD = blank(1)[0]
GOOD_EVERY = 500


def test_every_byte_of_eight_vehicles_is_relayed_in_order_and_nothing_is_missing_at_open_and_close(
    service: Service, devices: Devices
) -> None:
    vehicles = [uuid.uuid4() for _ in range(8)]
    pictures = blank(30)
    n = RELAY_S * FRAMES_PER_S
    # Every frame has bytes of its own: bytes behind the end marker are allowed, and relayed.
    streams = {v: [pictures[i % 30] + f"{v}/{i}".encode() for i in range(n)] for v in vehicles}
    for vehicle in vehicles:
        devices.open(vehicle)  # the first frames follow in the same instant
    devices.play(streams, FRAMES_PER_S)
    for vehicle in vehicles:
        devices.close(vehicle)
    assert eventually(lambda: sum(len(devices.hashes(v)) for v in vehicles) == 8 * n, 20)
    for vehicle, frames in streams.items():
        assert devices.hashes(vehicle) == [sha256(frame) for frame in frames]
    print(f"\n{8 * n} frames of 8 vehicles at {FRAMES_PER_S} frames/s: number, hashes and order equal")


def test_only_the_vehicle_with_closed_eyes_is_flagged(
    service: Service, devices: Devices, clip: Clip, driver: list[bytes]
) -> None:
    asleep, awake = uuid.uuid4(), uuid.uuid4()
    closed = next(interval for interval in clip.truth if interval.what == "eyes closed")
    streams = {
        asleep: driver[int(closed.start_s * FPS) : int(closed.end_s * FPS)],
        awake: driver[: int((closed.start_s - 0.5) * FPS)],
    }
    for vehicle in streams:
        devices.open(vehicle)
    for _ in range(5):  # again where the machine stood still, which makes the second begin anew
        devices.play(streams, FPS)
        if eventually(lambda: (s := service.json(f"/v1/streams/{asleep}")) and s["flagged"] >= 25, 10):
            break
    assert service.json(f"/v1/streams/{asleep}")["flagged"] >= 25
    assert service.json(f"/v1/streams/{awake}")["flagged"] == 0
    for vehicle in streams:
        devices.close(vehicle)
    assert set(devices.alerts(asleep)) == {"sleeping"}
    assert devices.alerts(awake) == []
    assert eventually(lambda: _items(service, f"/v1/vehicles/{asleep}/videos"), 60)
    [video] = _items(service, f"/v1/vehicles/{asleep}/videos")
    assert len(_items(service, f"/v1/videos/{video['uuid']}/alerts?limit=1000")) >= 25
    events = _items(service, f"/v1/events?vehicle={asleep}")
    assert {"microsleep", "sleep"} & {event["kind"] for event in events}
    assert {event["video"] for event in events} <= {video["uuid"], None}
    assert _items(service, f"/v1/vehicles/{awake}/videos") == []
    assert {str(asleep), str(awake)} <= {one["uuid"] for one in _items(service, "/v1/vehicles")}


def test_a_vehicle_is_watched_live(service: Service, devices: Devices) -> None:
    vehicle = uuid.uuid4()
    frames = [blank(1)[0] + b"drawn %d" % number for number in range(5)]
    url = f"ws://127.0.0.1:{service.environ['HTTP_PORT']}/v1/live/{vehicle}"
    with connect(url, additional_headers={"Origin": "http://localhost"}) as socket:
        assert json.loads(socket.recv(10)) in ({"broker": "connected"}, {"broker": "disconnected"})
        devices.open(vehicle)
        seen: list[bytes] = []
        for frame in frames:
            devices.send(f"stream/{vehicle}", frame)
            while len(seen) < len(frames) and (not seen or seen[-1] != frame):
                message = socket.recv(20)
                if isinstance(message, bytes):
                    seen.append(message)
                    socket.send("shown")
        assert seen == frames
        devices.close(vehicle)
    with pytest.raises(InvalidStatus):
        connect(url, additional_headers={"Origin": "http://evil.example"})


def _items(service: Service, path: str) -> list[Any]:
    """What is stored, of the first page."""
    page = service.json(path)
    return list(page["items"]) if page else []


def test_ten_thousand_junk_messages_are_counted_and_leave_nothing_behind(service: Service, devices: Devices) -> None:
    vehicle, good = uuid.uuid4(), GOOD
    lie = bytearray(good)
    at = lie.find(b"\xff\xc0")
    lie[at + 5 : at + 9] = b"\x1f\x40\x1f\x40"  # 8000 x 8000, 64 megapixels
    rng = random.Random(1)
    junk = [
        *(("stream", payload) for payload in (b"", b"\x00", b"{}", rng.randbytes(20_000), good[:900], bytes(lie))),
        ("stream", b"\xff\xd8\xff\xd9"),
        ("stream", good + bytes(2 * MB)),
        ("deep", b"not a picture"),
        ("no uuid", good),
        ("open_stream", b"../../etc/passwd"),
        ("close_stream", b"' OR 1=1 --"),
    ]
    topics = {"stream": f"stream/{vehicle}", "deep": f"stream/{vehicle}/a/b/c", "no uuid": "stream/" + "a" * 300}
    devices.open(vehicle)
    assert eventually(lambda: service.json(f"/v1/streams/{vehicle}"))
    gateway, processes = service.replica("Gateway"), _processes(service)
    counted = sum(service.json("/healthz")["refused"].values())
    _send_junk(devices, vehicle, junk, topics, 1_000)  # buffers grow to their working size once
    assert eventually(lambda: sum(service.json("/healthz")["refused"].values()) == counted + 1_000)
    before = gateway.memory_info().rss
    lines, began_s = len(service.log.read_bytes().splitlines()), time.monotonic()

    _send_junk(devices, vehicle, junk, topics, 10_000)
    assert eventually(lambda: sum(service.json("/healthz")["refused"].values()) == counted + 11_000, 60)
    good_ones = [sha256(GOOD)] * (11_000 // GOOD_EVERY)
    assert eventually(lambda: devices.hashes(vehicle) == good_ones), "the good frames, and nothing else"
    stream = service.json(f"/v1/streams/{vehicle}")
    said, junk_s = len(service.log.read_bytes().splitlines()) - lines, time.monotonic() - began_s
    of_junk = (len(stream["dropped"]) + 1) * (junk_s // LOG_INTERVAL_S + 1)  # each reason, and bad_uuid
    assert said <= of_junk + 10, "10 for whatever else happens"
    assert sum(stream["dropped"].values()) == sum(
        sum(junk[i % len(junk)][0] in {"stream", "deep"} for i in range(n)) for n in (1_000, 10_000)
    )
    devices.close(vehicle)
    # Back to where it was: what a leak of every message would hold is 2 GB, of every refusal's line some MB.
    after = eventually(lambda: (rss := gateway.memory_info().rss) < before + 8 * MB and rss, 30)
    print(f"\n10,000 junk messages: {stream['dropped']}, {said} lines in the log")
    print(f"the Gateway: {before / MB:.0f} MB before, {gateway.memory_info().rss / MB:.0f} MB after")
    assert after, "back to where it was"
    assert processes <= _processes(service), "no process died"


def test_an_open_vehicle_is_an_actor_of_its_name_and_gone_ten_seconds_after_its_trip(
    service: Service, devices: Devices
) -> None:
    vehicle = uuid.uuid4()
    devices.open(vehicle)
    devices.play({vehicle: blank(10)}, FRAMES_PER_S)
    stream = eventually(lambda: (s := service.json(f"/v1/streams/{vehicle}")) and s["pid"] and s)
    assert psutil.Process(stream["pid"]).is_running()
    devices.close(vehicle)
    assert eventually(lambda: service.get(f"/v1/streams/{vehicle}")[0] == 404, 5)
    assert eventually(lambda: not psutil.pid_exists(stream["pid"]), 10)


def test_a_vehicle_begins_in_a_process_that_was_ready_and_there_is_another_soon(
    service: Service, devices: Devices
) -> None:
    def ready() -> set[int]:
        processes = psutil.Process(service.process.pid).children(recursive=True)
        return {process.pid for process in processes if process.name().startswith("ray::IDLE")}

    assert eventually(lambda: len(ready()) >= READY, 60)
    before, vehicle = ready(), uuid.uuid4()
    devices.open(vehicle)
    devices.play({vehicle: [GOOD]}, FRAMES_PER_S)
    stream: Any = eventually(lambda: (s := service.json(f"/v1/streams/{vehicle}")) and s["pid"] and s, 30)
    assert stream["pid"] in before
    assert eventually(lambda: len(ready()) >= READY, 30)
    devices.close(vehicle)


def test_an_operator_sees_a_trip_from_a_terminal_and_ends_it(service: Service, devices: Devices) -> None:
    vehicle = uuid.uuid4()
    devices.open(vehicle)
    devices.play({vehicle: blank(10)}, FRAMES_PER_S)
    assert str(vehicle) in command(service, "streams").stdout
    for said, status in (("is closed", 0), (f"no stream of vehicle {vehicle} is open", 1)):
        done = command(service, "close", str(vehicle))
        assert said in done.stdout + done.stderr
        assert done.returncode == status
    assert service.get(f"/v1/streams/{vehicle}")[0] == 404
    assert str(vehicle) not in command(service, "streams").stdout


def command(service: Service, *args: str) -> subprocess.CompletedProcess[str]:
    """`python -m serve_app` with the service's settings."""
    return subprocess.run(
        [sys.executable, "-m", "serve_app", *args],
        cwd=PROJECT,
        env={**os.environ, **service.environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_nothing_listens_beyond_loopback(service: Service) -> None:
    parent = psutil.Process(service.process.pid)
    outside = [
        f"{process.name()} {connection.laddr}"
        for process in [parent, *parent.children(recursive=True)]
        for connection in _connections(process)
        if connection.status == psutil.CONN_LISTEN and not _is_loopback(connection.laddr.ip)
    ]
    assert not outside


@pytest.mark.parametrize("name", ["MQTT_BROKER_PORT", "HTTP_PORT"])
def test_a_taken_port_stops_the_start_with_one_line(service: Service, tmp_path: Path, name: str) -> None:
    taken = {"MQTT_BROKER_PORT": str(service.mqtt_port), "HTTP_PORT": service.environ["HTTP_PORT"]}[name]
    environ = {"DMS_ENV_FILE": os.devnull, "DATA_DIR": str(tmp_path), name: taken}
    if name == "MQTT_BROKER_PORT":
        environ["HTTP_PORT"] = str(servers.free_port())
    done = subprocess.run(
        [sys.executable, "-m", "serve_app", "run"],
        cwd=PROJECT, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if taken in line]
    assert len(lines) == 1 and "is taken" in lines[0]
    assert "Traceback" not in done.stderr


def _send_junk(
    devices: Devices, vehicle: uuid.UUID, junk: list[tuple[str, bytes]], topics: dict[str, str], n: int
) -> None:
    for i in range(n):
        if i % GOOD_EVERY == 0:  # junk does not keep a stream alive
            devices.send(f"stream/{vehicle}", GOOD)
        kind, payload = junk[i % len(junk)]
        devices.send(topics.get(kind, kind), payload)
        if i % 50 == 0:
            time.sleep(0.05)  # the broker drops what its own queue cannot hold


def _is_loopback(address: str) -> bool:
    return ip_address(address.removeprefix("::ffff:")).is_loopback


def _processes(service: Service) -> set[psutil.Process]:
    """The service's lasting processes; vehicles' actors and idle workers of Ray come and go."""
    lasting = ("ray::ServeReplica", "ray::ServeController", "ray::ProxyActor", "raylet", "gcs_server")
    everything = psutil.Process(service.process.pid).children(recursive=True)
    return {process for process in everything if process.name().startswith(lasting)}


def _connections(process: psutil.Process) -> Any:
    try:
        return process.net_connections()
    except psutil.NoSuchProcess:
        return []
