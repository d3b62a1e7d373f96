"""The service under measurement: as an operator starts it, with mosquitto, on free ports and in a folder of its own."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from serve_app.ready_processes import READY
from serve_app.run import CONFIG
from tests.serve.service import Service, running
from tests.servers import mosquitto
from tests.waiting import eventually

MAILBOX_FRAMES = 4000
"""More than ever wait: full mailboxes drop, and what is dropped costs as well."""

SETTLE_S = 120.0
IMPORTS_S = 1.5
"""A process is there before it has imported what it is to have ready."""
IDLE_S = 600.0
"""Vehicles wait for one another, and must not be taken for gone."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A running service and its broker.

    Args:
        service: See `Service`.
        broker_port: Of mosquitto.
    """

    service: Service
    broker_port: int

    def settle(self, vehicles: int = 0) -> None:
        """Wait until so many actors are there and the processes that they took have been replaced.

        Raises:
            RuntimeError: It took over two minutes.
        """
        if not eventually(lambda: self.settled(vehicles), SETTLE_S):
            raise RuntimeError(
                f"{len(self.actors())} vehicles (wanted {vehicles}) and {len(self._processes('ray::IDLE'))} ready "
                f"processes (wanted {READY}) after {SETTLE_S:.0f} s"
            )
        time.sleep(IMPORTS_S)

    def settled(self, vehicles: int = 0) -> bool:
        """Whether it is so, but for what the last of them still imports."""
        return len(self.actors()) == vehicles and len(self._processes("ray::IDLE")) >= READY

    def actors(self) -> list[psutil.Process]:
        """The vehicles' processes."""
        return self._processes("ray::VehicleActor")

    def _processes(self, title: str) -> list[psutil.Process]:
        found = []
        for process in psutil.Process(self.service.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                if process.cmdline()[0].partition("(")[0].partition(".")[0] == title:
                    found.append(process)
        return found

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """All processes stand still: even idle ones wake up some thousand times a second, at a baseline's cost."""
        top = psutil.Process(self.service.process.pid)
        processes = [top, *top.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            yield
        finally:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def cpu_s(self) -> float:
        """CPU seconds that all processes of the service have had, Ray's included; broker and load are none of them."""
        top = psutil.Process(self.service.process.pid)
        total = 0.0
        for process in (top, *top.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total


@contextlib.contextmanager
def service(*, import_path: str | None = None) -> Iterator[Measured]:
    """The service with serve_config.yaml.

    Args:
        import_path: Of the application, in place of the real one.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else it would live on, and slow the next benchmark
    with tempfile.TemporaryDirectory(prefix="dms-bench-") as folder, mosquitto() as broker:
        config = yaml.safe_load(CONFIG.read_text())
        if import_path:
            config["applications"][0]["import_path"] = import_path
        path = Path(folder, "serve_config.yaml")
        path.write_text(yaml.safe_dump(config))
        settings = {
            "MQTT_BROKER_URL": f"mqtt://127.0.0.1:{broker.port}",
            "MQTT_BROKER_PORT": str(broker.port),
            "MAILBOX_FRAMES": str(MAILBOX_FRAMES),
            "STREAM_IDLE_TIMEOUT_S": str(IDLE_S),
            "RAY_AUTH_MODE": "disabled",
        }
        with running(Path(folder), config=path, **settings) as started:
            yield Measured(started, broker.port)
