"""The service under measurement: as an operator starts it, with mosquitto, on free ports and in a folder of its own."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from serve_app.run import CONFIG
from tests.serve.service import Service, running
from tests.servers import mosquitto

MAILBOX_FRAMES = 4000
"""More than ever wait: full mailboxes drop, and what is dropped costs as well."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A running service and its broker.

    Args:
        service: See `Service`.
        broker_port: Of mosquitto.
    """

    service: Service
    broker_port: int

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
            "RAY_AUTH_MODE": "disabled",
        }
        with running(Path(folder), config=path, **settings) as started:
            yield Measured(started, broker.port)
