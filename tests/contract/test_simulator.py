"""Simulated devices at a real broker."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from serve_app import simulator
from serve_app.simulator import BrokerError, Mishaps, Security, TimedJpeg, replay, schedule
from tests import servers

VEHICLES = [uuid.UUID(int=1), uuid.UUID(int=2)]
PROJECT = Path(__file__).resolve().parents[2]


def frames(n: int, *, every_s: float = 0.01) -> list[TimedJpeg]:
    return [TimedJpeg(i * every_s, b"\xff\xd8 frame %d \xff\xd9" % i) for i in range(n)]


class Heard:
    """All messages that the broker passed on, in order."""

    def __init__(self) -> None:
        self._messages: list[tuple[str, bytes]] = []
        self._more = threading.Condition()

    def add(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        """For paho's `on_message`."""
        with self._more:
            self._messages.append((message.topic, bytes(message.payload)))
            self._more.notify_all()

    def of(self, vehicle: uuid.UUID) -> list[tuple[str, bytes]]:
        """Topic and payload of what this vehicle sent."""
        own = str(vehicle).encode()
        return [(t, p) for t, p in list(self._messages) if p == own or t == f"stream/{vehicle}"]

    def await_that(self, check: Callable[[Heard], bool]) -> None:
        """Return once it is so."""
        with self._more:
            assert self._more.wait_for(lambda: check(self), 20), self._messages

    def control(self, vehicle: uuid.UUID) -> list[str]:
        """What this vehicle opened and closed, in order."""
        return [topic for topic, _ in self.of(vehicle) if "/" not in topic]

    def frames(self, vehicle: uuid.UUID) -> int:
        """How many frames it sent."""
        return len(self.of(vehicle)) - len(self.control(vehicle))

    def closed(self, *vehicles: uuid.UUID) -> bool:
        """Whether all of them closed their streams."""
        return all(("close_stream", str(v).encode()) in self.of(v) for v in vehicles)


@contextlib.contextmanager
def listener(port: int) -> Iterator[Heard]:
    heard, ready = Heard(), threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = heard.add
    client.on_subscribe = lambda *_: ready.set()
    client.connect(servers.HOST, port)
    client.subscribe("#", qos=1)
    client.loop_start()
    assert ready.wait(20)
    try:
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


def test_each_vehicle_opens_sends_all_in_order_and_closes(mosquitto: servers.Server) -> None:
    sending = frames(20)
    with listener(mosquitto.port) as heard:
        sent = replay(sending, vehicles=VEHICLES, host=servers.HOST, port=mosquitto.port)
        heard.await_that(lambda h: h.closed(*VEHICLES))
        for vehicle in VEHICLES:
            text = str(vehicle).encode()
            story = [("open_stream", text), *((f"stream/{vehicle}", f.jpeg) for f in sending), ("close_stream", text)]
            assert heard.of(vehicle) == story
    assert [(s.vehicle, s.frames, s.lost, s.unsent, s.closed) for s in sent] == [(v, 20, 0, 0, True) for v in VEHICLES]
    assert sent[0].sent_bytes == sum(len(f.jpeg) for f in sending)


def test_frames_are_sent_at_their_times(mosquitto: servers.Server) -> None:
    begin_s = time.monotonic()
    [sent] = replay(frames(11, every_s=0.1), vehicles=VEHICLES[:1], host=servers.HOST, port=mosquitto.port, speed=2)
    assert time.monotonic() - begin_s >= 0.5
    assert sent.seconds >= 0.49
    assert sent.fps <= 20.5


def test_loss_drops_its_share_and_the_same_frames_for_the_same_seed(mosquitto: servers.Server) -> None:
    stories = []
    for _ in range(2):
        with listener(mosquitto.port) as heard:
            sent = replay(
                frames(200, every_s=0.005),
                vehicles=VEHICLES,
                host=servers.HOST,
                port=mosquitto.port,
                mishaps=Mishaps(loss=0.3, seed=7),
            )
            heard.await_that(lambda h: h.closed(*VEHICLES))
            stories.append([heard.of(vehicle) for vehicle in VEHICLES])
        assert [(s.frames + s.lost, s.unsent) for s in sent] == [(200, 0), (200, 0)]
        assert all(40 <= s.lost <= 80 for s in sent)
    assert len(stories[0][0]) != 202
    assert stories[0] == stories[1]


def test_a_vehicle_that_reboots_vanishes_and_opens_another_trip(
    mosquitto: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "AWAY_S", (0.2, 0.4))
    with listener(mosquitto.port) as heard:
        sent = replay(
            frames(300),
            vehicles=VEHICLES,
            host=servers.HOST,
            port=mosquitto.port,
            mishaps=Mishaps(jitter_s=0.05, reboot_every_s=0.6),
        )
        # One that vanishes while it connects may leave a will without an opening.
        heard.await_that(lambda h: all(h.control(v)[-1:] == ["close_stream"] for v in VEHICLES))
        heard.await_that(lambda h: all(h.frames(one.vehicle) >= one.frames for one in sent))
    for one in sent:
        control = " ".join(heard.control(one.vehicle))
        assert one.reboots >= 2 and one.closed and one.broken == 0
        assert 2 <= control.count("open_stream") <= one.reboots + 1, "it may be away at the end"
        assert "open_stream open_stream" not in control, "its will ended each trip"
        assert one.frames + one.missed + one.unsent == 300
        numbers = [int(payload.split()[2]) for topic, payload in heard.of(one.vehicle) if "/" in topic]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == one.frames, "what was sent is there, up to the moment when the vehicle vanished"


def test_a_vehicle_without_power_at_the_end_leaves_its_last_will(mosquitto: servers.Server) -> None:
    with listener(mosquitto.port) as heard:
        [sent] = replay(
            frames(100),
            vehicles=VEHICLES[:1],
            host=servers.HOST,
            port=mosquitto.port,
            mishaps=Mishaps(reboot_every_s=0.1),  # and away for 2 s
        )
        assert (sent.closed, sent.reboots) == (True, 1)
        heard.await_that(lambda h: h.closed(VEHICLES[0]))
        assert len(heard.of(VEHICLES[0])) == 2 + sent.frames
    assert f"{sent.missed} missed in 1 reboots" in str(sent)


def test_a_broken_connection_is_made_anew_and_the_stream_opened_again(mosquitto: servers.Server) -> None:
    vehicle = VEHICLES[0]
    opened, closed = (("open_stream", str(vehicle).encode()), ("close_stream", str(vehicle).encode()))
    # A second client of the same name makes the broker cut off the first, and send its last will.
    rival = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"simulated-{vehicle}", reconnect_on_failure=False)
    with listener(mosquitto.port) as heard:

        def sending() -> Iterator[TimedJpeg]:
            for i in range(3000):
                if i == 10:
                    heard.await_that(lambda h: len(h.of(vehicle)) == 11)
                    rival.connect(servers.HOST, mosquitto.port)
                if heard.of(vehicle).count(opened) == 2 and heard.of(vehicle)[-1] != opened:
                    return
                yield TimedJpeg(i / 100, b"\xff\xd8 %d" % i)

        [sent] = replay(sending(), vehicles=[vehicle], host=servers.HOST, port=mosquitto.port)
        rival.disconnect()
        assert sent.closed
        heard.await_that(lambda h: h.of(vehicle).count(closed) == 2)
        assert heard.control(vehicle) == ["open_stream", "close_stream", "open_stream", "close_stream"]


def test_a_broker_that_is_gone_for_good_is_told_of() -> None:
    with servers.mosquitto() as broker:

        def sending() -> Iterator[TimedJpeg]:
            yield from frames(10)
            broker.kill()
            # The first may still be taken: nobody has noticed yet.
            yield from (TimedJpeg(0.1 + i / 10, b"") for i in range(50))

        [sent] = replay(sending(), vehicles=VEHICLES[:1], host=servers.HOST, port=broker.port)
    assert not sent.closed
    assert sent.frames + sent.unsent == 60
    assert sent.unsent >= 30
    assert "NOT acknowledged" in str(sent)


def test_a_device_that_vanishes_leaves_its_last_will(mosquitto: servers.Server, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8 \xff\xd9")
    program = (
        "import argparse; from serve_app import simulator; p = argparse.ArgumentParser(); simulator.add_arguments(p); "
        "raise SystemExit(simulator.main(p.parse_args()))"
    )
    at = ["--host", servers.HOST, "--port", str(mosquitto.port), "--no-scoreboard"]
    with listener(mosquitto.port) as heard:
        args = [sys.executable, "-c", program, str(tmp_path), "--loop", "--uuid", str(VEHICLES[0]), *at]
        device = subprocess.Popen(args, cwd=PROJECT)
        try:
            heard.await_that(lambda h: len(h.of(VEHICLES[0])) >= 3)
            assert not heard.closed(VEHICLES[0])
        finally:
            device.kill()
            device.wait()
        heard.await_that(lambda h: h.closed(VEHICLES[0]))


def test_a_source_that_breaks_closes_the_streams(mosquitto: servers.Server) -> None:
    def broken() -> Iterator[TimedJpeg]:
        yield from frames(2)
        raise simulator.SourceError("source x: broken")

    with listener(mosquitto.port) as heard:
        with pytest.raises(simulator.SourceError):
            replay(broken(), vehicles=VEHICLES, host=servers.HOST, port=mosquitto.port)
        heard.await_that(lambda h: h.closed(*VEHICLES))


def test_a_broker_that_is_not_there_is_named() -> None:
    port = servers.free_port()
    with pytest.raises(BrokerError, match=f"broker {servers.HOST}:{port}: cannot be reached: Connection refused"):
        replay(frames(1), vehicles=VEHICLES, host=servers.HOST, port=port)


def test_a_broker_that_refuses_is_named() -> None:
    with servers.mosquitto("allow_anonymous false") as broker:
        security = Security(username="nobody", password="wrong")
        with pytest.raises(BrokerError, match="refuses the connection: Not authorized"):
            replay(frames(1), vehicles=VEHICLES, host=servers.HOST, port=broker.port, security=security)


def test_the_command_says_what_it_sent(
    mosquitto: servers.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "env").touch()
    monkeypatch.setenv("DMS_ENV_FILE", str(tmp_path / "env"))
    monkeypatch.setenv("MQTT_BROKER_URL", f"mqtt://{servers.HOST}:{mosquitto.port}")
    for i in range(5):
        (tmp_path / f"{i}.jpg").write_bytes(b"\xff\xd8 %d" % i)
    parser = argparse.ArgumentParser()
    simulator.add_arguments(parser)
    words = [str(tmp_path), "--vehicles", "3", "--fps", "50", "--uuid", str(VEHICLES[0]), "--no-scoreboard"]
    with listener(mosquitto.port) as heard:
        assert simulator.main(parser.parse_args(words)) == 0
        heard.await_that(lambda h: h.closed(VEHICLES[0]))
        assert len(heard.of(VEHICLES[0])) == 7
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f"{VEHICLES[0]}: 5 frames, 0 lost on purpose")
    assert lines[3].startswith("3 vehicles: 15 frames, 0 lost on purpose")
    assert "late" in lines[3]
