"""`make demo`: the service on its embedded defaults, one vehicle replayed from a clip, what its trip left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import select

from models.fetch import fetch
from serve_app.adapters.folder import FolderStore
from serve_app.adapters.schema import alerts, vehicles, videos
from serve_app.run import RAY_AGENT_PORT, StartError, only_one, port_fault
from serve_app.settings import PROJECT, Settings, SettingsError, load_settings
from serve_app.simulator import BrokerError, SourceError, load_source, replay
from serve_app.stores import open_metrics
from serve_app.synthetic import ClipError, make_clip

START_TIMEOUT_S = 600.0
LANDED_TIMEOUT_S = 120.0
RELAY_TIMEOUT_S = 10.0
PARTS_SETTLE_S = 3.0
STOP_TIMEOUT_S = 120.0
"""More than the service takes for its orderly end at the most."""
_LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Our own service is asked directly, whatever proxy this machine is told to use."""


class DemoError(Exception):
    """The demo cannot go on; the message is for a person."""


def main() -> int:
    """Run the demo; 0 only if the trip landed. `VIDEO` names a clip, `KEEP` leaves the service up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # so that the service is stopped then, too
    try:
        return _demo(os.environ.get("VIDEO", ""), keep=os.environ.get("KEEP", "") not in {"", "0"})
    except KeyboardInterrupt:
        return 130
    except (DemoError, SettingsError, ClipError, SourceError, BrokerError, OSError) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1


def _demo(video: str, *, keep: bool) -> int:
    usual = load_settings({"DATA_DIR": os.environ.get("DATA_DIR", ""), "DMS_ENV_FILE": os.devnull}).data_dir
    fetch(usual)
    data_dir = _data_dir(usual)
    clip = Path(video) if video else make_clip(data_dir, say=print).video
    source = load_source(clip)
    environ = _environment(data_dir)
    settings = load_settings(environ)
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir / f"demo-{settings.http_port}.log"
    print(f"Starting the service (its log: {log}) ...")
    with log.open("wb") as out:
        service = subprocess.Popen(
            [sys.executable, "-m", "serve_app", "run"],
            cwd=PROJECT,
            env=environ,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(settings, service, log)
        vehicle = uuid.uuid4()
        print(f"Vehicle {vehicle} drives {clip.name} ...")
        with _Listener(settings.mqtt_broker_port, vehicle) as listener:
            [sent] = replay(source, vehicles=[vehicle], host="127.0.0.1", port=settings.mqtt_broker_port, progress=None)
            listener.wait_for(sent.frames)
        print(f"Sent {sent}")
        _print_trip(settings, vehicle)
        if keep:
            print(f"\nThe service is up. Its console: {settings.public_url}, the trip: {settings.public_url}/#/trips")
            print(f"Its broker is at 127.0.0.1:{settings.mqtt_broker_port}, its API at {settings.public_url}/docs.")
            print(f"It ends with: kill {service.pid}")
        return 0
    finally:
        if not keep or sys.exc_info()[0]:
            _stop(service)


def _data_dir(usual: Path) -> Path:
    """A folder that no service uses: the usual one, or one in it with the same model files."""
    try:
        with only_one(usual):
            return usual
    except StartError:
        own = usual / f"demo-{os.getpid()}"
        own.mkdir()
        for shared in ("models", "clips"):
            (own / shared).symlink_to(usual / shared)
        return own


def _environment(data_dir: Path) -> dict[str, str]:
    """This environment with the embedded defaults, whatever else is configured here, and ports that are free."""
    settings = {name.upper() for name in Settings.model_fields} | {"RAY_ADDRESS", "STORAGE_EMULATOR_HOST"}
    return {
        **{name: value for name, value in os.environ.items() if name not in settings},
        "DMS_ENV_FILE": os.devnull,
        "DATA_DIR": str(data_dir),
        "MQTT_BROKER_PORT": str(_port(1883)),
        "HTTP_PORT": str(_port(8000)),
    }


def _port(usual: int) -> int:
    if port_fault("127.0.0.1", usual) is None:
        return usual
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    return _port(usual) if port == RAY_AGENT_PORT else port


def _wait_until_ready(settings: Settings, service: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end_s:
        if service.poll() is not None:
            raise DemoError(f"the service has ended:\n{log.read_text(errors='replace')[-3000:]}")
        try:
            with _LOCAL.open(f"http://127.0.0.1:{settings.http_port}/healthz", timeout=5) as answer:
                print(f"Ready: {answer.read().decode()}")
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise DemoError(f"the service was not ready within {START_TIMEOUT_S:.0f} s; see {log}")


class _Listener:
    """Prints a vehicle's alerts and events as they come and counts its relayed frames."""

    def __init__(self, port: int, vehicle: uuid.UUID) -> None:
        self._relayed = 0
        self._alert, self._event = f"alert/{vehicle}", f"event/{vehicle}"
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._heard
        self._client.connect("127.0.0.1", port)
        self._client.subscribe([(self._alert, 1), (self._event, 1), (f"base64/{vehicle}", 0)])
        self._client.loop_start()

    def __enter__(self) -> Self:
        self._began_s = time.monotonic()
        return self

    def wait_for(self, frames: int) -> None:
        """Return when so many frames are relayed, or none comes any more."""
        end_s = time.monotonic() + RELAY_TIMEOUT_S
        while self._relayed < frames and time.monotonic() < end_s:
            time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        print(f"Relayed {self._relayed} frames")

    def _heard(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if message.topic == self._alert:
            self._print(f"alert: {message.payload.decode()}")
        elif message.topic == self._event:
            event = json.loads(message.payload)
            state = "runs" if event["ended_at"] is None else "ended"
            self._print(f"event: {event['kind']} ({event['severity']}) {state}")
        else:
            self._relayed += 1

    def _print(self, what: str) -> None:
        print(f"  {time.monotonic() - self._began_s:5.1f} s  {what}")


@dataclass(frozen=True, slots=True)
class _Row:
    at_s: float
    what: str
    ear: float
    mar: float


def _print_trip(settings: Settings, vehicle: uuid.UUID) -> None:
    metrics = open_metrics(settings)
    footage = FolderStore(settings.data_dir / "footage", settings.public_url)
    with metrics.engine.connect() as database:
        mine = select(videos).join(vehicles).where(vehicles.c.uuid == str(vehicle)).order_by(videos.c.id)
        rows: Sequence[Any] = []
        end_s = time.monotonic() + LANDED_TIMEOUT_S
        settled_s = time.monotonic()
        while not rows or time.monotonic() - settled_s < PARTS_SETTLE_S:
            if not rows and time.monotonic() > end_s:
                raise DemoError(f"no trip of {vehicle} landed within {LANDED_TIMEOUT_S:.0f} s: was anything flagged?")
            time.sleep(0.5)
            database.rollback()
            found = database.execute(mine).all()
            if len(found) != len(rows):  # a long trip lands in parts
                rows, settled_s = found, time.monotonic()
        for video in rows:
            flagged = database.execute(
                select(alerts).where(alerts.c.video_id == video.id).order_by(alerts.c.time)
            ).all()
            name = str(video.url).split("/footage/", 1)[1]
            print(f"\nThe trip landed: {footage.size(name) or 0:,} bytes of footage, {len(flagged)} alert rows")
            print(f"  MP4       {settings.data_dir / 'footage' / name}")
            print(f"  URL       {video.url}")
            print(f"  database  {metrics.describe}: videos.uuid {video.uuid}")
            for line in _summary([_row(flagged[0], alert) for alert in flagged]):
                print(line)


def _row(first: Any, alert: Any) -> _Row:
    durations = {
        "sleeping": alert.sleep_duration,
        "yawning": alert.yawning_duration,
        "not focus": alert.focus_duration,
    }
    what = [*(alert.object_detected or "").split(", "), *(name for name, lasted_s in durations.items() if lasted_s)]
    said = ", ".join(filter(None, what)) or "an event"
    return _Row((alert.time - first.time).total_seconds(), said, alert.ear, alert.mar)


def _summary(rows: Sequence[_Row]) -> Iterator[str]:
    """One line for each run of flagged frames that say the same."""
    yield "  from s   to s  frames   EAR   MAR  flagged for"
    for what, group in groupby(rows, key=lambda row: row.what):
        run = list(group)
        ear, mar = sum(r.ear for r in run) / len(run), sum(r.mar for r in run) / len(run)
        yield f"  {run[0].at_s:6.1f} {run[-1].at_s:6.1f} {len(run):7d} {ear:5.2f} {mar:5.2f}  {what}"


def _stop(service: subprocess.Popen[bytes]) -> None:
    if service.poll() is None:
        print("\nStopping the service ...")
        service.send_signal(signal.SIGTERM)
        try:
            service.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            service.kill()
