"""The service as an operator starts it, and devices that talk to it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import paho.mqtt.client as mqtt
import psutil
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.servers import free_port
from tests.waiting import eventually

PROJECT = Path(__file__).resolve().parents[2]
READY_TIMEOUT_S = 300.0


@dataclass(slots=True)
class Service:
    """A running service.

    Args:
        environ: Its settings, on top of this process's environment.
        log: What it says.
        process: `python -m serve_app run`.
    """

    environ: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def mqtt_port(self) -> int:
        """Of its broker."""
        return int(self.environ["MQTT_BROKER_PORT"])

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        """An answer over HTTP: status and body; status 0 when there is none."""
        url = f"http://127.0.0.1:{self.environ['HTTP_PORT']}{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def json(self, path: str) -> Any:
        """An answer's JSON; None when the answer is not 200."""
        status, body = self.get(path)
        return json.loads(body) if status == 200 else None

    def replica(self, deployment: str) -> psutil.Process:
        """A process of this deployment."""
        processes = psutil.Process(self.process.pid).children(recursive=True)
        return next(p for p in processes if p.name().startswith(f"ray::ServeReplica:dms:{deployment}"))

    @property
    def ray_session(self) -> Path:
        """The folder of its Ray."""
        processes = psutil.Process(self.process.pid).children(recursive=True)
        [raylet] = (process for process in processes if process.name() == "raylet")
        return Path(next(arg for arg in raylet.cmdline() if arg.startswith("--session_dir=")).partition("=")[2])

    def stop(self) -> int:
        """End it as SIGTERM does; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(120)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise


@contextlib.contextmanager
def running(
    folder: Path, *, config: Path | None = None, program: Sequence[str] = ("serve_app", "run"), **settings: str
) -> Iterator[Service]:
    """The service with these settings on free ports, until the block ends.

    Args:
        folder: For its data and its log.
        config: In place of serve_config.yaml.
        program: The module that runs it, and its arguments.
        settings: By their names.
    """
    environ = {
        "DMS_ENV_FILE": os.devnull,
        "DATA_DIR": str(folder / "data"),
        "MQTT_BROKER_PORT": str(free_port()),
        "HTTP_PORT": str(free_port()),
        **settings,
    }
    log = folder / "service.log"
    command = [sys.executable, "-m", *program, *(["--config", str(config)] if config else [])]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            process_group=0,  # no session: Linux would share the cores between sessions (docs/adr/0025)
        )
    service = Service(environ, log, process)
    try:

        def ready() -> bool:
            assert process.poll() is None, f"the service has ended:\n{log.read_text()[-4000:]}"
            return service.get("/healthz")[0] == 200

        assert eventually(ready, READY_TIMEOUT_S), f"not ready in time:\n{log.read_text()[-4000:]}"
        yield service
    finally:
        service.stop()


class Devices:
    """One MQTT connection that plays vehicles, and another that hears everything the service says.

    Args:
        port: Of the broker.
    """

    def __init__(self, port: int) -> None:
        self.heard: dict[str, list[bytes]] = defaultdict(list)
        self.relayed: dict[str, list[str]] = defaultdict(list)
        self._lock = threading.Lock()
        self._sender, self._listener = (mqtt.Client(CallbackAPIVersion.VERSION2) for _ in range(2))
        self._sender.max_inflight_messages_set(0)
        subscribed = threading.Event()
        self._listener.on_message = self._on_message
        self._listener.on_subscribe = lambda *_: subscribed.set()
        for client in (self._sender, self._listener):
            client.connect("127.0.0.1", port)
        self._listener.subscribe([("base64/#", 0), ("alert/#", 1)])
        for client in (self._sender, self._listener):
            client.loop_start()
        assert subscribed.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in (self._sender, self._listener):
            client.disconnect()
            client.loop_stop()

    def open(self, vehicle: uuid.UUID) -> None:
        """Begin a trip."""
        self._sender.publish("open_stream", str(vehicle), qos=1)

    def close(self, vehicle: uuid.UUID) -> None:
        """End a trip."""
        self._sender.publish("close_stream", str(vehicle), qos=1).wait_for_publish(10)

    def send(self, topic: str, payload: bytes) -> None:
        """Any message at QoS 0."""
        self._sender.publish(topic, payload)

    def play(self, streams: Mapping[uuid.UUID, Sequence[bytes]], fps: float) -> None:
        """Send each vehicle's frames at this rate, all vehicles in step."""
        began_s = time.monotonic()
        for i in range(max(len(frames) for frames in streams.values())):
            time.sleep(max(0.0, began_s + i / fps - time.monotonic()))
            for vehicle, frames in streams.items():
                if i < len(frames):
                    self.send(f"stream/{vehicle}", frames[i])

    def alerts(self, vehicle: uuid.UUID) -> list[str]:
        """What was said of a vehicle."""
        with self._lock:
            return [text.decode() for text in self.heard[f"alert/{vehicle}"]]

    def hashes(self, vehicle: uuid.UUID) -> list[str]:
        """SHA-256 of each frame relayed, in order."""
        with self._lock:
            return list(self.relayed[f"base64/{vehicle}"])

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        with self._lock:
            if message.topic.startswith("base64/"):
                self.relayed[message.topic].append(sha256(b64decode(message.payload)))
            else:
                self.heard[message.topic].append(bytes(message.payload))


class Fleet:
    """Vehicles that drive until the block ends, and send their frames again and again.

    Args:
        devices: Sends them.
        streams: The frames of each vehicle.
        fps: Of each vehicle.
    """

    def __init__(self, devices: Devices, streams: Mapping[uuid.UUID, Sequence[bytes]], fps: float) -> None:
        self._devices = devices
        self._streams = streams
        self._fps = fps
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send, name="fleet")

    def __enter__(self) -> Self:
        for vehicle in self._streams:
            self._devices.open(vehicle)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for vehicle in self._streams:
            self._devices.close(vehicle)

    def _send(self) -> None:
        began_s, number = time.monotonic(), 0
        while not self._ended.wait(max(0.0, began_s + number / self._fps - time.monotonic())):
            for vehicle, frames in self._streams.items():
                self._devices.send(f"stream/{vehicle}", frames[number % len(frames)])
            number += 1


def sha256(jpeg: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(jpeg).hexdigest()


def blank(n: int, seed: int = 7) -> list[bytes]:
    """JPEG frames (640x480) with nothing in them, each different from the next."""
    rng = np.random.default_rng(seed)
    pictures = (cv2.GaussianBlur(rng.integers(90, 150, (480, 640, 3), dtype=np.uint8), (31, 31), 0) for _ in range(n))
    return [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures]


def skip_without_index(error: Exception) -> None:
    """Skip a test whose clip needs a package index that is not in reach; fail where CI=true."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(error))
    pytest.skip(str(error))
