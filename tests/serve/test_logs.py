"""A trip of the running service, followed through the logs of all its processes as JSON."""

from __future__ import annotations

import json
import re
import tempfile
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from tests.serve.service import Devices, Service, blank, running
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


def test_a_trip_is_on_a_line_of_each_step_with_its_vehicle(tmp_path: Path) -> None:
    vehicle, calm = uuid.uuid4(), uuid.uuid4()
    with running(tmp_path, config=CONFIG, RAY_LOGGING_CONFIG_ENCODING="JSON") as service:
        logs = _session(service) / "logs"
        with Devices(service.mqtt_port) as devices:
            trips = {one: _drive(service, devices, one, flagged=one == vehicle) for one in (vehicle, calm)}
        # Ray may write a moment later than it answers.
        told = eventually(lambda: _ending_with(_about(logs, trips[vehicle]), "stored "), 60)
        told_of_calm = eventually(lambda: _ending_with(_about(logs, trips[calm]), "stored, without footage"), 60)
        url = service.json(f"/v1/vehicles/{vehicle}/videos")["items"][0]["url"]
        assert service.stop() == 0

    assert trips[vehicle] in url, "the row leads to the lines"
    assert {line["vehicle"] for line in told} == {str(vehicle)}
    assert {line["vehicle"] for line in told_of_calm} == {str(calm)}
    for step, process in STEPS.items():
        [line] = [line for line in told if step in line["message"]]
        assert line["process"] == process
    assert len(told) == len(STEPS), "one line a step, none a frame"

    console = [line for line in service.log.read_text().splitlines() if trips[vehicle] in line]
    assert sorted(json.loads(line)["message"] for line in console) == sorted(line["message"] for line in told)
    assert '"process": "run"' in service.log.read_text()
    serves = [path.read_text() for path in (logs / "serve").glob("replica_*.log")]
    assert serves and all(json.loads(line) for text in serves for line in text.splitlines())


def _drive(service: Service, devices: Devices, vehicle: uuid.UUID, *, flagged: bool) -> str:
    """A trip of 20 frames, of which some show a phone, and three that are none; its UUID."""
    frames = blank(20)
    if flagged:
        frames[5:10] = [marked(frame, "phone") for frame in frames[5:10]]
    devices.open(vehicle)
    devices.play({vehicle: [*frames[:10], *([b"junk"] * 3), *frames[10:]]}, 10)
    stream: Any = eventually(lambda: (s := service.json(f"/v1/streams/{vehicle}")) and s["frames"] == 20 and s)
    devices.close(vehicle)
    return str(stream["trip"])


def _session(service: Service) -> Path:
    """Ray's folder of this service."""
    found = re.search(r"Ray's dashboard: (http://[^\s\"]+)", service.log.read_text())
    assert found, "the log says where Ray's dashboard is"
    with urllib.request.urlopen(f"{found[1]}/api/version", timeout=20) as answer:  # noqa: S310 our own Ray
        return Path(tempfile.gettempdir(), "ray", json.load(answer)["session_name"])


def _about(logs: Path, trip: str) -> list[dict[str, Any]]:
    """Every line of our processes with the trip in it, in order of time; each must be JSON that knows it."""
    lines = [line for path in logs.glob("worker-*") for line in path.read_text().splitlines() if trip in line]
    told: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert all(line["trip"] == trip for line in told), "as a field, not only in the text"
    return sorted(told, key=lambda line: str(line["time"]))


def _ending_with(told: list[dict[str, Any]], step: str) -> list[dict[str, Any]]:
    return told if told and step in told[-1]["message"] else []
