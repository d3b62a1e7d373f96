"""Log lines: text as ever, or JSON that knows its vehicle and trip; a trip can be followed through them."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import json
import logging
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.flush import Flusher
from actors.ports import Stores
from actors.vehicle import Vehicle
from models.jpeg import FrameLimits
from models.logs import ENCODING, JsonLines, about
from serve_app.intake import Intake
from serve_app.run import check_encoding
from serve_app.settings import SettingsError
from tests.builders import TINY_JPEG, jpeg, seen, trip, vehicle_config, vehicle_id
from tests.fakes.stores import FakeFootageStore, FakeMetricsStore
from tests.waiting import eventually

LOG = logging.getLogger("tests.logs")
VEHICLE, TRIP = vehicle_id(), trip()


class Lines(logging.StreamHandler[io.StringIO]):
    """What is logged, read back."""

    def __init__(self, process: str = "Vehicle", vehicle: uuid.UUID | None = None) -> None:
        super().__init__(io.StringIO())
        self.setFormatter(JsonLines(process, vehicle))

    def read(self) -> list[dict[str, Any]]:
        """A JSON object a line."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    lines, root = Lines(), logging.getLogger()
    level = root.level
    root.addHandler(lines)
    root.setLevel(logging.INFO)
    yield lines
    root.removeHandler(lines)
    root.setLevel(level)


def test_a_line_is_one_json_object_whatever_it_says(lines: Lines) -> None:
    try:
        int("first\nsecond")
    except ValueError:
        LOG.exception("what %s\nsaid: %s", "a device", "\udcff\u2028ä\0")
    [line] = lines.read()
    assert (line["level"], line["logger"], line["process"], line["pid"]) == (
        *("ERROR", "tests.logs", "Vehicle"),
        os.getpid(),
    )
    assert line["message"] == "what a device\nsaid: \udcff\u2028ä\0"
    assert line["exception"].startswith("Traceback") and "ValueError: invalid literal" in line["exception"]
    assert line["time"].endswith("Z") and len(line["time"]) == len("2026-01-01T00:00:00.000Z")
    assert abs(dt.datetime.fromisoformat(line["time"]) - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)
    assert "vehicle" not in line and "trip" not in line


def test_a_line_is_about_what_its_thread_or_task_is_about(lines: Lines) -> None:
    async def work(number: int) -> None:
        with about(vehicle_id(number), trip(number).id):
            await asyncio.sleep(0)
            LOG.info("%d", number)
            await asyncio.to_thread(LOG.info, "%d", number)

    async def both() -> None:
        await asyncio.gather(work(1), work(2))

    asyncio.run(both())
    assert len(lines.read()) == 4
    for line in lines.read():
        number = int(line["message"])
        assert (line["vehicle"], line["trip"]) == (str(vehicle_id(number)), str(trip(number).id))

    with about(VEHICLE, TRIP.id):
        with about(vehicle_id(2)):
            LOG.info("inside")
        LOG.info("again")
        thread = threading.Thread(target=LOG.info, args=("another thread",))
        thread.start()
        thread.join()
    LOG.info("after")
    told = [(line["message"], line.get("vehicle"), line.get("trip")) for line in lines.read()[4:]]
    assert told == [
        ("inside", str(vehicle_id(2)), None),
        ("again", str(VEHICLE), str(TRIP.id)),
        ("another thread", None, None),
        ("after", None, None),
    ]


def test_a_vehicles_process_names_it_on_every_line() -> None:
    lines = Lines(vehicle=VEHICLE)
    record = logging.LogRecord("some.library", logging.INFO, "", 0, "hello", None, None)
    lines.handle(record)
    with about(vehicle_id(2)):
        lines.handle(record)
    assert [line["vehicle"] for line in lines.read()] == [str(VEHICLE), str(vehicle_id(2))]


SET_UP = """
import logging
from models.logs import set_up_logs
logging.getLogger().addHandler(logging.StreamHandler()) if {ray} else None
serve = logging.getLogger("ray.serve")
serve.propagate = False
serve.addHandler(logging.StreamHandler())
set_up_logs("Gateway")
logging.getLogger("serve_app.x").info("hello")
logging.getLogger("serve_app.x").debug("too much")
serve.warning("of Serve")
"""


@pytest.mark.parametrize("encoding", ["JSON", "TEXT", ""])
def test_a_process_writes_one_kind_of_lines(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SET_UP.format(ray=encoding == "JSON")],
        env={**os.environ, ENCODING: encoding},
        capture_output=True,
        text=True,
        check=True,
    )
    if encoding == "JSON":
        told = [json.loads(line) for line in done.stderr.splitlines()]
        assert [(one["process"], one["logger"], one["message"]) for one in told] == [
            ("Gateway", "serve_app.x", "hello"),
            ("Gateway", "ray.serve", "of Serve"),
        ]
    else:
        own, serves = done.stderr.splitlines()
        assert own.endswith(" INFO serve_app.x hello")
        assert serves == "of Serve"


@pytest.mark.parametrize("encoding", ["json", "XML", " "])
def test_an_encoding_that_ray_would_refuse_is_refused_before_ray_starts(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENCODING, encoding)
    with pytest.raises(SettingsError, match=f"^{ENCODING}={encoding}: should be 'TEXT' or 'JSON'$"):
        check_encoding()


def test_a_trip_is_followed_from_open_stream_to_its_rows(lines: Lines, tmp_path: Path) -> None:
    intake = Intake(
        limits=FrameLimits(max_bytes=4096, max_pixels=64 * 48),
        max_vehicles=1,
        relay=lambda _topic, _payload: True,
        emit=lambda _item: None,
    )
    intake.message("open_stream", str(VEHICLE).encode())
    [view] = intake.views().values()
    of = view.trip
    for payload in (TINY_JPEG, TINY_JPEG, b"junk", b"junk"):
        intake.message(f"stream/{VEHICLE}", payload)
    intake.message("close_stream", str(VEHICLE).encode())
    flusher = Flusher(
        lambda: Stores(FakeFootageStore(), FakeMetricsStore(), tmp_path / "scratch"), on_idle=lambda: None
    )
    vehicle = Vehicle(VEHICLE, vehicle_config(), tmp_path, flusher.submit)
    vehicle.push(of, [seen(0), seen(1, "phone", data=jpeg())], "device")
    assert eventually(lambda: not flusher.pending)

    steps = ["opened", "dropped (not_jpeg)", "closed (device) after 2 frames; dropped: not_jpeg 2"]
    steps += ["begins with part 1", "ended (device) with 2 frames, 1 flagged"]
    steps += ["encoded", "uploaded", "stored"]
    told = lines.read()
    assert len(told) == len(steps), "one line a step, none a frame"
    for line, step in zip(told, steps, strict=True):
        assert step in line["message"]
        assert (line["trip"], line["vehicle"]) == (str(of.id), str(VEHICLE))


def test_a_trip_that_the_next_one_ends_is_named_by_its_own_lines(lines: Lines, tmp_path: Path) -> None:
    vehicle = Vehicle(VEHICLE, vehicle_config(), tmp_path, lambda _part: None)
    first, second = trip(number=1), trip(number=2)
    vehicle.push(first, [seen(0)])
    vehicle.push(second, [seen(0)])
    assert [(line["message"].rpartition(": ")[2], line["trip"]) for line in lines.read()] == [
        ("begins with part 1", str(first.id)),
        ("ended (orphaned) with 1 frames, 0 flagged", str(first.id)),
        ("begins with part 1", str(second.id)),
    ]
