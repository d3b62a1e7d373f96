"""A service that has secrets, and everything that it and Ray write and show: they are nowhere in it."""

from __future__ import annotations

import base64
import html
import http.client
import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from serve_app.api.guard import COOKIE
from serve_app.synthetic import FPS, Clip
from tests import servers
from tests.serve.browser import Console, chromium, console
from tests.serve.service import Devices, Fleet, Service, blank, running
from tests.waiting import eventually

TOKEN = "T0ken:of/the?API&%41=+~"
MQTT_PASSWORD = "mqtt$pä$$:w@rd/€%"
GUESSES = ("a-guess-at-the-token", "another-guess")
SHOWN_BY_RAY = (
    *("/api/serve/applications/", "/logical/actors", "/api/jobs/", "/nodes?view=summary", "/api/version"),
    *(
        f"/api/v0/{what}?detail=1&limit=1000"
        for what in ("actors", "jobs", "nodes", "runtime_envs", "tasks", "workers")
    ),
)


@dataclass(frozen=True, slots=True)
class World:
    """A service with secrets and what stands behind it.

    Args:
        service: The service.
        folder: Its data and its log.
        broker: Knows the password of the service; anybody else needs none.
        passwords: The broker's file.
        mariadb: Knows another.
    """

    service: Service
    folder: Path
    broker: servers.Server
    passwords: Path
    mariadb: servers.MariaDb

    @property
    def bearer(self) -> dict[str, str]:
        """What who may call sends."""
        return {"Authorization": f"Bearer {TOKEN}"}

    def set_mqtt_password(self, password: str) -> None:
        """Restart the broker with another password for the service."""
        self.broker.stop()
        _write_password(self.passwords, password)
        self.broker.start()

    def call(self, method: str, path: str, headers: dict[str, str], body: str = "") -> tuple[int, dict[str, str], str]:
        """Any call: status, headers and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", int(self.service.environ["HTTP_PORT"]), timeout=10)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        told = answer.status, {name.lower(): value for name, value in answer.getheaders()}
        # Of an opened WebSocket there is no end to read to.
        text = "" if answer.status == http.HTTPStatus.SWITCHING_PROTOCOLS else answer.read().decode()
        connection.close()
        return *told, text


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, mariadb: servers.MariaDb, gcs: servers.Gcs) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("secrets")
    passwords = tmp_path_factory.mktemp("broker") / "passwords"
    _write_password(passwords, MQTT_PASSWORD)
    with servers.mosquitto(f"password_file {passwords}") as broker:
        settings: dict[str, Any] = {
            "API_TOKEN": TOKEN,
            "MQTT_BROKER_URL": "127.0.0.1",
            "MQTT_BROKER_PORT": str(broker.port),
            "MQTT_USERNAME": "dms",
            "MQTT_PASSWORD": MQTT_PASSWORD,
            "MYSQL_HOST": f"127.0.0.1:{mariadb.port}",
            "MYSQL_USER": mariadb.user,
            "MYSQL_PASSWORD": mariadb.password,
            "MYSQL_DATABASE": mariadb.database(),
            "GOOGLE_STORAGE_BUCKET_NAME": gcs.bucket(),
            "STORAGE_EMULATOR_HOST": gcs.url,
        }
        with running(folder, **settings) as service:
            yield World(service, folder, broker, passwords, mariadb)


def test_the_guard_holds_behind_serves_proxy(world: World) -> None:
    port = world.service.environ["HTTP_PORT"]
    assert world.call("GET", "/v1/streams", {})[0] == 401
    assert world.call("GET", "/v1/streams", world.bearer)[0] == 200
    assert world.call("GET", "/v1/streams", {**world.bearer, "Host": "evil.example"})[0] == 421
    assert world.call("GET", "/healthz", {"Host": "evil.example"})[0] == 200
    status, headers, _ = world.call("POST", "/login", {}, json.dumps({"token": TOKEN}))
    assert status == 204
    cookie = headers["set-cookie"].split(";")[0]
    assert cookie.startswith(f"{COOKIE}=")
    assert world.call("GET", "/docs", {"Cookie": cookie, "Host": f"localhost:{port}"})[0] == 200
    assert world.call("POST", "/login", {"Origin": "https://evil.example"}, json.dumps({"token": TOKEN}))[0] == 403

    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    }
    live = f"/v1/live/{uuid.uuid4()}"
    status, _, body = world.call("GET", live, upgrade)
    assert status == 401 and json.loads(body)["title"] == "Unauthorized"
    assert world.call("GET", live, {**upgrade, "Cookie": cookie, "Host": "evil.example"})[0] == 421
    assert world.call("GET", live, {**upgrade, "Cookie": cookie, "Origin": "null"})[0] == 403
    assert world.call("GET", live, {**upgrade, "Cookie": cookie})[0] not in {401, 421}, "it is let through"


def test_the_console_behind_the_token_and_while_the_broker_is_away(world: World, tmp_path: Path) -> None:
    vehicle = uuid.uuid4()
    with chromium() as browser, console(browser, world.service, tmp_path) as page:
        _log_in(page)
        expect(page.page.get_by_text("No vehicle has a stream open.")).to_be_visible()
        page.look("empty")
        with Devices(world.broker.port) as devices, Fleet(devices, {vehicle: blank(20)}, 5):
            page.go(f"/vehicles/{vehicle}")
            expect(page.page.locator(".veil")).to_have_count(0)
            world.broker.stop()
            expect(page.page.locator(".veil")).to_have_text("the service has lost its broker")
            expect(page.page.locator(".banner")).to_contain_text("Frames cannot be taken now.")
            page.look("no-broker")
            page.go("/")
            expect(page.page.locator(".tile .veil")).to_have_text("the service has lost its broker")
            world.broker.start()
            expect(page.page.locator(".tile .veil")).to_have_count(0, timeout=30_000)
            page.go(f"/vehicles/{vehicle}")
            expect(page.page.locator(".banner")).to_have_count(0, timeout=30_000)
            expect(page.page.locator(".veil")).to_have_count(0, timeout=30_000)
            before = page.pixels("canvas")
            assert eventually(lambda: page.pixels("canvas") != before), "the picture moves again"
        page.forgive(503)
        page.go("/health")
        expect(page.page.get_by_text("Frames are taken.")).to_be_visible()
        assert page.complaints == []


def test_no_secret_is_written_or_shown(world: World, clip: Clip, driver: list[bytes]) -> None:
    closed = next(interval for interval in clip.truth if interval.what == "eyes closed")
    vehicle = uuid.uuid4()
    shown = [*_guess(world)]
    world.mariadb.stop()
    try:
        with Devices(world.broker.port) as devices:
            devices.open(vehicle)
            devices.play({vehicle: driver[int(closed.start_s * FPS) : int(closed.end_s * FPS)]}, FPS)
            devices.close(vehicle)
        assert eventually(lambda: _state(world, "database") != "ok", 10)
        failure = eventually(lambda: _flush_error(world), 20)
        assert "OperationalError" in failure, "the flush says what it failed of"
        shown += [failure, *_answers(world)]
    finally:
        world.mariadb.start()
    world.set_mqtt_password("another")
    assert eventually(lambda: "refused" in _state(world, "broker"), 15)
    shown += _answers(world)
    world.set_mqtt_password(MQTT_PASSWORD)
    assert eventually(lambda: _state(world, "broker") == "connected", 15)
    assert eventually(lambda: _state(world, "database") == "ok", 15)

    log = world.service.log.read_text()
    found = re.search(r"Ray's dashboard: (http://\S+)", log)
    assert found, "the log says where Ray's dashboard is"
    shown += [_get(found[1] + path) for path in SHOWN_BY_RAY]
    session = world.service.ray_session
    assert (session / "logs").is_dir()
    assert world.service.stop() == 0, "the trip is stored at the orderly end"
    files = [path for folder in (session, world.folder) for path in folder.rglob("*") if path.is_file()]
    written = {str(path): path.read_bytes() for path in files}
    written |= {f"answer {n}": text.encode() for n, text in enumerate(shown)}

    everything = b"\n".join(written.values())
    for line in (b"a wrong API_TOKEN from 127.0.0.1", b"refused the connection: Not authorized", b"OperationalError"):
        assert line in everything, "what the errors were is there to be read"
    secrets = {"API_TOKEN": TOKEN, "MQTT_PASSWORD": MQTT_PASSWORD, "MYSQL_PASSWORD": world.mariadb.password}
    secrets |= {f"guess {n}": guess for n, guess in enumerate(GUESSES)}
    leaks = [
        f"{name} as {form!r} in {path}"
        for name, secret in secrets.items()
        for form in _forms(secret)
        if form in everything
        for path, content in written.items()
        if form in content
    ]
    assert leaks == []


def _log_in(page: Console) -> None:
    page.go()
    page.page.get_by_label("API_TOKEN").fill("a guess")
    page.page.get_by_role("button", name="Log in").click()
    expect(page.page.get_by_role("alert")).to_have_text("That is not the token.")
    page.page.get_by_label("API_TOKEN").fill(TOKEN)
    page.page.get_by_role("button", name="Log in").click()
    expect(page.page.locator("h1")).to_have_text("Fleet")
    page.forgive(401)


def _forms(secret: str) -> set[bytes]:
    """A secret as it may be spelled."""
    texts = {
        *(secret, repr(secret)[1:-1], repr(secret.encode())[2:-1], json.dumps(secret)[1:-1], html.escape(secret)),
        *(urllib.parse.quote(secret), urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret)),
        base64.b64encode(secret.encode()).decode(),
    }
    return {form for text in texts for form in (text.encode(), text.encode("latin-1", "replace"))}


def _write_password(file: Path, password: str) -> None:
    """Make it the password of the service at a broker that starts with this file."""
    program = servers.program("mosquitto_passwd", "mosquitto")
    file.touch()
    subprocess.run([program, "-b", str(file), "dms", password], check=True, capture_output=True)


def _guess(world: World) -> Iterator[str]:
    """Whoever does not know the token; the answers."""
    for guess in GUESSES:
        yield world.call("GET", "/v1/streams", {"Authorization": f"Bearer {guess}"})[2]
        status, _, body = world.call("POST", "/login", {}, json.dumps({"token": guess}))
        assert status == 401
        yield body


def _answers(world: World) -> list[str]:
    paths = ("/healthz", "/v1/streams", "/v1/flushes", "/openapi.json", "/docs", "/nowhere", "/footage/x", "/-/routes")
    return [world.call("GET", path, world.bearer)[2] for path in paths]


def _state(world: World, of: str) -> str:
    return str(json.loads(world.call("GET", "/healthz", {})[2]).get(of, ""))


def _flush_error(world: World) -> str:
    """What the API says of a flush that fails; empty while none has."""
    body = world.call("GET", "/v1/flushes", world.bearer)[2]
    return body if '"last_error":"' in body else ""


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 our own Ray
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error.read().decode()}") from error
