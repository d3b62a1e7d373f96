"""The service under measurement: as an operator starts it, with mosquitto, on free ports and in a folder of its own."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from serve_app.ready_processes import READY
from serve_app.run import CONFIG
from tests.serve.service import Service, running
from tests.servers import HOST, MariaDb, gcs, mariadb, mosquitto, program
from tests.waiting import eventually

MAILBOX_FRAMES = 4000
"""More than ever wait: full mailboxes drop, and what is dropped costs as well. See `load.MOST_WAITING_BYTES`."""

SETTLE_S = 120.0
IMPORTS_S = 1.5
"""A process is there before it has imported what it is to have ready."""
IDLE_S = 600.0
"""Vehicles wait for one another, and must not be taken for gone."""
ROLES = {
    "ray::ServeReplica:dms:Gateway": "Gateway",
    "ray::ServeReplica:dms:Detector": "Detector",
    "ray::ServeReplica:dms:Api": "Api",
    "ray::VehicleActor": "vehicles",
    "ray::Vehicle": "vehicles",
    "ray::IDLE": "ready processes",
    "ray::ProxyActor": "Serve's proxy",
    "ray::ServeController": "Serve's controller",
    "ray::DashboardAgent": "Ray's dashboard and agents",
    "ray::RuntimeEnvAgent": "Ray's dashboard and agents",
    "dashboard.py": "Ray's dashboard and agents",
    "ray-dashboard": "Ray's dashboard and agents",
    "log_monitor.py": "Ray's dashboard and agents",
    "monitor.py": "Ray's dashboard and agents",
    "ray.serve.scripts": "serve run",
    "serve_app": "make run",
    "default_worker.py": "ready processes",
    "gcs_server": "Ray's head",
    "raylet": "raylet",
}
"""What a process is for, by what its command line contains; the first that fits."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A running service and its broker.

    Args:
        service: See `Service`.
        broker_port: Of mosquitto.
        database: The server with the tables, and their database's name; None where that is a file.
        nodes: Of its Ray.
    """

    service: Service
    broker_port: int
    database: tuple[MariaDb, str] | None = None
    nodes: int = 1

    def settle(self, vehicles: int = 0) -> None:
        """Wait until so many actors are there and the processes that they took have been replaced.

        Raises:
            RuntimeError: It took over two minutes.
        """
        if not eventually(lambda: self.settled(vehicles), SETTLE_S):
            raise RuntimeError(
                f"{len(self.actors())} vehicles (wanted {vehicles}) and {len(self._processes('ray::IDLE'))} ready "
                f"processes (wanted {READY * self.nodes}) after {SETTLE_S:.0f} s"
            )
        time.sleep(IMPORTS_S)

    def settled(self, vehicles: int = 0) -> bool:
        """Whether it is so, but for what the last of them still imports."""
        return len(self.actors()) == vehicles and len(self._processes("ray::IDLE")) >= READY * self.nodes

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
        try:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()
            yield
        finally:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def cpu_s_by_role(self) -> dict[str, float]:
        """CPU seconds that the service's processes have had, Ray's included, by what they are for; see `ROLES`."""
        top = psutil.Process(self.service.process.pid)
        total: Counter[str] = Counter()
        for process in (top, *top.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                command, times = " ".join(process.cmdline()), process.cpu_times()
                role = next((role for mark, role in ROLES.items() if mark in command), "other")
                total[role] += times.user + times.system
        return dict(total)

    def broker_cpu_s(self) -> float:
        """The broker's, which is none of the service's."""
        [broker] = [child for child in psutil.Process().children() if child.name() == "mosquitto"]
        times = broker.cpu_times()
        return float(times.user + times.system)

    def stored(self, vehicles: Sequence[str]) -> tuple[int, int]:
        """Of these vehicles: videos, and flagged frames in them.

        Raises:
            RuntimeError: The service has been started without `stores`.
        """
        if self.database is None:
            raise RuntimeError("there is no database server")
        server, name = self.database
        with server.root(name) as connection, connection.cursor() as cursor:
            if not cursor.execute("SHOW TABLES LIKE 'alerts'"):  # they come with the first vehicle
                return 0, 0
            cursor.execute(
                "SELECT COUNT(DISTINCT videos.id), COUNT(alerts.video_id) FROM videos "
                "JOIN vehicles ON vehicles.id = vehicle_id LEFT JOIN alerts ON alerts.video_id = videos.id "
                "WHERE vehicles.uuid IN %s",
                [vehicles],
            )
            videos, frames = cursor.fetchone() or (0, 0)
            return int(videos), int(frames)


def check_servers() -> None:
    """Find out whether the programs are there, before half an hour has gone.

    Raises:
        pytest.skip.Exception: One is missing; it says which package brings it.
    """
    for name, package in (("mosquitto", "mosquitto"), ("mariadbd", "mariadb-server")):
        program(name, package)


@contextlib.contextmanager
def service(
    *,
    import_path: str | None = None,
    detectors: Mapping[str, Any] | None = None,
    stores: bool = False,
    nodes: int = 0,
) -> Iterator[Measured]:
    """The service with serve_config.yaml.

    Args:
        import_path: Of the application, in place of the real one.
        detectors: Options of the Detector's deployment, in place of its own.
        stores: On MariaDB and fake-gcs-server, in place of a file and a folder.
        nodes: On a Ray cluster of so many, all of them here; 0 for a Ray of its own.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):  # else it would live on, and slow the next benchmark
        signal.signal(number, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dms-bench-"))
        broker = stack.enter_context(mosquitto())
        config = yaml.safe_load(CONFIG.read_text())
        [application] = config["applications"]
        if import_path:
            application["import_path"] = import_path
        if detectors:
            others = [one for one in application["deployments"] if one["name"] != "Detector"]
            limits = {"name": "Detector", "max_ongoing_requests": 4, "health_check_period_s": 5}
            application["deployments"] = [*others, {**limits, **detectors}]
        path = Path(folder, "serve_config.yaml")
        path.write_text(yaml.safe_dump(config))
        settings = {
            "MQTT_BROKER_URL": f"mqtt://127.0.0.1:{broker.port}",
            "MQTT_BROKER_PORT": str(broker.port),
            "MAILBOX_FRAMES": str(MAILBOX_FRAMES),
            "STREAM_IDLE_TIMEOUT_S": str(IDLE_S),
            "RAY_AUTH_MODE": "disabled",
        }
        database = None
        if stores:
            server, storage = stack.enter_context(mariadb()), stack.enter_context(gcs())
            database = server, server.database()
            settings |= {
                "MYSQL_HOST": f"{HOST}:{server.port}",
                "MYSQL_USER": server.user,
                "MYSQL_PASSWORD": server.password,
                "MYSQL_DATABASE": database[1],
                "GOOGLE_STORAGE_BUCKET_NAME": storage.bucket(),
                "STORAGE_EMULATOR_HOST": storage.url,
            }
        program = ("benchmarks.cluster", str(nodes)) if nodes else ("serve_app", "run")
        started = stack.enter_context(running(Path(folder), config=path, program=program, **settings))
        yield Measured(started, broker.port, database, max(1, nodes))
