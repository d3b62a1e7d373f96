"""The simulator's scoreboard at a real broker, with as much of a service as it sees from outside."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import socketserver
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from models.jpeg import FrameLimits
from serve_app import simulator
from serve_app.client import AnswerError, Client
from serve_app.intake import Intake
from serve_app.scheduler import Item
from serve_app.simulator import schedule, scoreboard
from tests import servers
from tests.builders import jpeg


class Deployment:
    """The service's own intake, which relays, and the HTTP API's answers; every frame is flagged and becomes a row.

    Args:
        port: Of the broker.
        swallows: Every so manieth frame is neither relayed nor counted; 0: none.
        token: Asked of who asks.
    """

    def __init__(self, port: int, *, swallows: int = 0, token: str = "") -> None:
        self.token = token
        self._swallows = swallows
        self._count = 0
        self._rows: Counter[uuid.UUID] = Counter()
        self._videos: dict[uuid.UUID, list[uuid.UUID]] = {}
        self._intake = Intake(
            limits=FrameLimits(max_bytes=2**20, max_pixels=2**24),
            max_vehicles=100,
            relay=self._relay,
            emit=self._emit,
        )
        self._ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.connect(servers.HOST, port)
        self._client.subscribe([("open_stream", 1), ("close_stream", 1), ("stream/#", 0)])
        self._client.loop_start()
        assert self._ready.wait(20)

    def stop(self) -> None:
        """Go."""
        self._client.disconnect()
        self._client.loop_stop()

    def answer(self, path: str) -> Any:
        """What the API says; None: there is no such thing."""
        of = path.split("/")[-2]
        if path == "/healthz":
            return {"refused": self._intake.refused, "journal": "ok"}
        if path == "/v1/streams":
            return [
                {
                    "vehicle": str(vehicle),
                    "trip": str(view.trip.id),
                    "frames": view.frames,
                    "flagged": self._rows[view.trip.id],
                    "dropped": view.dropped,
                    "backlog": 0,
                }
                for vehicle, view in self._intake.views().items()
            ]
        if path == "/v1/flushes":
            return []
        items: list[Any] = []
        if path.startswith("/v1/videos/"):
            items = [{}] * self._rows[uuid.UUID(of)]
        elif path.startswith("/v1/vehicles/"):
            if uuid.UUID(of) not in self._videos:
                return None
            trips = self._videos[uuid.UUID(of)]
            items = [{"uuid": str(trip), "url": f"http://x/footage/day/{of}-{trip}.mp4"} for trip in trips]
        return {"items": items, "next_cursor": None}

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self._intake.message(message.topic, bytes(message.payload))

    def _relay(self, topic: str, payload: bytes) -> bool:
        self._count += 1
        if not self._swallows or self._count % self._swallows:
            self._client.publish(topic, payload)
        return True

    def _emit(self, item: Item) -> bool:
        if item.frame:
            self._rows[item.trip.id] += 1
        elif item.closed_by:
            self._videos.setdefault(item.trip.vehicle, []).append(item.trip.id)
        return True


@contextlib.contextmanager
def http(answer: Callable[[str], Any], token: str = "") -> Iterator[str]:
    """A server that answers so; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            said = answer(path)
            known = not token or path == "/healthz" or self.headers["Authorization"] == f"Bearer {token}"
            self.send_response(200 if said is not None and known else 404 if known else 401)
            self.end_headers()
            self.wfile.write(json.dumps(said if known else {"detail": "this wants a token"}).encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((servers.HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="http")
        thread.start()
        try:
            yield f"http://{servers.HOST}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def deployment(port: int, *, swallows: int = 0, token: str = "") -> Iterator[str]:
    """Its HTTP address."""
    service = Deployment(port, swallows=swallows, token=token)
    try:
        with http(service.answer, token) as url:
            yield url
    finally:
        service.stop()


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty JPEGs, no two alike, and settings that name no service."""
    (tmp_path / "env").touch()
    monkeypatch.setenv("DMS_ENV_FILE", str(tmp_path / "env"))
    monkeypatch.setenv("HTTP_PORT", str(servers.free_port()))
    for name in ("MQTT_BROKER_URL", "API_TOKEN", "HTTP_HOST"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(20):
        (folder / f"{i:02d}.jpg").write_bytes(jpeg(grey=10 * i))
    return folder


@pytest.fixture
def simulate(
    pictures: Path, mosquitto: servers.Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Run the command; exit code and what it said."""
    monkeypatch.setattr(scoreboard, "QUIET_S", 2.0)  # this broker is no further away than here

    def run(*words: str) -> tuple[int, str]:
        parser = argparse.ArgumentParser()
        simulator.add_arguments(parser)
        at = ["--host", servers.HOST, "--port", str(mosquitto.port)]
        code = simulator.main(parser.parse_args([str(pictures), *at, *words]))
        said = capsys.readouterr()
        assert said.err == ""
        return code, said.out

    return run


Simulate = Callable[..., tuple[int, str]]


def row(out: str, name: str) -> str:
    """A row of the scoreboard."""
    [found] = re.findall(rf"^  {name} +(.*)$", out, re.MULTILINE)
    return str(found)


def number(out: str, name: str) -> int:
    """The first one of a row."""
    found = re.search(r"\d+", row(out, name))
    assert found
    return int(found[0])


def test_a_fleet_with_all_mishaps_is_accounted_for_to_the_last_frame(
    simulate: Simulate, mosquitto: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "AWAY_S", (0.2, 0.4))
    with deployment(mosquitto.port) as url:
        words = ["--vehicles", "5", "--fps", "20", "--duration", "4", "--loss", "0.1", "--jitter", "0.1"]
        code, out = simulate(*words, "--reboot", "1", "--url", url)
    assert code == 0, out
    assert "every frame is accounted for" in out
    reboots = re.search(r"missed in (\d+) reboots$", out, re.MULTILINE)
    lost = re.search(r"(\d+) lost on purpose", row(out, "sent"))
    assert lost and 15 <= int(lost[1]) <= 60
    assert number(out, "relayed") == number(out, "sent") > 200
    assert reboots or " reboots, " in row(out, "sent")
    videos, alerts, _, trips = (int(n) for n in re.findall(r"\d+", row(out, "stored")))
    assert (videos, trips) == (trips, videos)
    assert trips > 5, "reboots make trips"
    assert alerts == number(out, "relayed")
    assert row(out, "dropped").startswith("none")


def test_a_loss_that_nobody_counted_ends_with_1(simulate: Simulate, mosquitto: servers.Server) -> None:
    with deployment(mosquitto.port, swallows=10) as url:
        code, out = simulate("--vehicles", "2", "--fps", "50", "--url", url)
    assert code == 1
    assert "WRONG: 40 sent - 36 relayed - 0 dropped before that (none) = 4 frames that nobody counted" in out


def test_what_the_service_refuses_and_counts_is_no_loss(
    simulate: Simulate, mosquitto: servers.Server, pictures: Path
) -> None:
    whole = pictures / "03.jpg"
    whole.write_bytes(whole.read_bytes()[:-10])
    (pictures / "05.jpg").write_bytes(b"no picture")
    with deployment(mosquitto.port) as url:
        code, out = simulate("--fps", "50", "--url", url)
    assert code == 0, out
    assert row(out, "dropped").startswith("1 not_jpeg, 1 truncated")
    assert (number(out, "sent"), number(out, "relayed"), number(out, "observed")) == (20, 18, 18)


def test_without_an_api_its_cells_say_not_asked(simulate: Simulate, mosquitto: servers.Server) -> None:
    with deployment(mosquitto.port):
        code, out = simulate("--fps", "50")  # that of the settings, where nobody listens
    assert code == 0, out
    assert {row(out, name) for name in ("observed", "dropped", "stored")} == {"not asked"}
    assert "not asked: no service answers at http://127.0.0.1:" in out
    assert number(out, "relayed") == 20


def test_a_broker_without_a_service_is_found_out(simulate: Simulate) -> None:
    code, out = simulate("--fps", "50")
    assert code == 1
    assert "20 sent - 0 relayed" in out and "does a service run at this broker" in out


def test_the_token_of_the_settings_is_shown(
    simulate: Simulate, mosquitto: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with deployment(mosquitto.port, token="secret-token") as url:
        _, out = simulate("--fps", "50", "--url", url)
        assert "not asked: this wants a token" in out
        monkeypatch.setenv("API_TOKEN", "secret-token")
        code, out = simulate("--fps", "50", "--url", f"{url}/")
    assert code == 0, out
    assert number(out, "observed") == 20


def test_the_token_goes_nowhere_else() -> None:
    heard: list[str | None] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((servers.HOST, 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="http")
        thread.start()
        client = Client(f"http://{servers.HOST}:{server.server_port}", "a token", is_own=True)
        with pytest.raises(AnswerError, match="answered 302"):
            client.ask("GET", "/healthz")
        server.shutdown()
        thread.join()
    assert heard == ["/healthz"]


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("", "no service answers at"),
        ("SSH-2.0-x\r\n", "no service answers at"),
        ("HTTP/1.0 200 OK\r\n\r\n<html>", "is no such service"),
        ("HTTP/1.0 502 Bad Gateway\r\n\r\n<html>", "the service answered 502 Bad Gateway"),
    ],
    ids=["mute", "other", "page", "proxy"],
)
def test_what_is_no_such_service_is_told_in_one_line(said: str, fault: str) -> None:
    class Other(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(10_000)
            self.request.sendall(said.encode())

    with socketserver.ThreadingTCPServer((servers.HOST, 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="other")
        thread.start()
        client = Client(f"http://{servers.HOST}:{server.server_address[1]}", None, is_own=False)
        with pytest.raises(AnswerError, match=fault) as error:
            client.ask("GET", "/healthz")
        server.shutdown()
        thread.join()
    assert "\n" not in str(error.value)
