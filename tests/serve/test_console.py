"""The console in a real Chromium: a fleet that drives, what it leaves, a broker that goes and comes back."""

from __future__ import annotations

import datetime as dt
import operator
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from playwright.sync_api import Browser, expect

from benchmarks.stub import DRINK
from models.types import Trip
from serve_app import synthetic
from serve_app.adapters.sql import metrics_store
from tests import servers
from tests.builders import make_event
from tests.contract.databases import make_trip_record
from tests.serve.browser import Console, chromium, console
from tests.serve.service import Devices, Service, blank, running
from tests.waiting import eventually

FPS = 5.0
"""Little enough for two cores to see everything at once, with a browser beside."""
NOTHING = "\N{EN DASH}"
TOKEN = "let-me-see-the-fleet"
TILES = 8


class Fleet:
    """Vehicles that send without end, each from a place of its own in the frames."""

    def __init__(self, devices: Devices, streams: dict[uuid.UUID, list[bytes]], fps: float) -> None:
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, service: Service, tmp_path: Path) -> Iterator[Console]:
    with console(browser, service, tmp_path) as page:
        yield page
        assert page.complaints == []


@pytest.fixture(scope="module")
def driven(
    browser: Browser, service: Service, driver: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> uuid.UUID:
    """A vehicle whose trip was watched, and has ended: the story of the first test."""
    vehicle = uuid.uuid4()
    other = uuid.uuid4()
    folder = tmp_path_factory.mktemp("live")
    with (
        Devices(service.mqtt_port) as devices,
        Fleet(devices, {vehicle: driver[:: round(synthetic.FPS / FPS)], other: blank(20)}, FPS),
        console(browser, service, folder) as page,
    ):
        page.go("/")
        tiles = page.page.locator(".tile")
        expect(tiles).to_have_count(2)
        expect(page.page.locator(".veil")).to_have_count(0)
        before = page.pixels(f'[data-vehicle="{vehicle}"] canvas')
        assert eventually(lambda: page.pixels(f'[data-vehicle="{vehicle}"] canvas') != before), "the picture moves"
        expect(tiles.filter(has_text=str(vehicle)[:8]).locator(".driver")).not_to_have_text("starting")
        page.look("fleet")

        tiles.filter(has_text=str(vehicle)[:8]).click()
        expect(page.page.locator("h1")).to_contain_text(str(vehicle))
        assert eventually(lambda: page.pixels(".overlay")[1] > 0), "what is seen is drawn over it"
        expect(page.page.locator(".chart .last").first).not_to_have_text(NOTHING)
        happened = page.page.locator(".said li").filter(has_text="sleep")
        expect(happened.first).to_be_visible(timeout=60_000)
        page.look("vehicle")

        page.page.get_by_role("button", name="Close the trip…").click()
        page.page.get_by_role("button", name="Close the trip", exact=True).click()
        expect(page.page.get_by_text("No trip of this vehicle is open.")).to_be_visible()
        page.forgive(404)  # that is how it knows
        assert page.complaints == []
    return vehicle


def test_a_fleet_is_seen_live_with_what_its_drivers_do(driven: uuid.UUID) -> None:
    assert driven


def test_a_trip_is_found_played_and_explained(page: Console, driven: uuid.UUID, service: Service) -> None:
    assert eventually(lambda: service.json(f"/v1/trips?vehicle={driven}")["items"], 60)
    page.go("/trips")
    page.page.get_by_label("Vehicle").fill(str(driven))
    page.page.get_by_role("button", name="Show").click()
    expect(page.page.locator("tbody tr")).to_have_count(1)
    assert str(driven) in page.page.url, "a filter can be sent to somebody"
    page.look("trips")

    page.page.locator("tbody a").first.click()
    video = page.page.locator("video")
    expect(video).to_be_visible()
    assert eventually(lambda: video.evaluate("video => video.readyState") >= 1), "the MP4 can be played"
    marks = page.page.locator(".timeline button")
    expect(marks.filter(has=page.page.locator("xpath=self::*[contains(@aria-label, 'sleep')]")).first).to_be_visible()
    for mark in (marks.first, marks.last):
        offset_s = float(mark.get_attribute("data-offset") or "nan")
        mark.click()
        assert eventually(lambda: not video.evaluate("video => video.seeking"))
        at_s = video.evaluate("video => video.currentTime")
        assert abs(at_s - offset_s) <= 0.2
    expect(page.page.locator(".chart .last").first).not_to_have_text(NOTHING)
    page.page.get_by_role("button", name="Score this trip under every profile").click()
    expect(page.page.get_by_role("rowheader", name="openpilot@")).to_be_visible(timeout=60_000)
    with page.page.expect_download() as download:
        page.page.get_by_role("link", name="Download the MP4").click()
    assert download.value.path().stat().st_size > 10_000
    page.look("trip")

    page.page.locator(".said .event").filter(has_text="sleep").first.click()
    expect(page.page.locator("h1")).to_contain_text("sleep")
    expect(page.page.get_by_text("The eyes were closed for")).to_be_visible()
    page.page.get_by_role("button", name="Score this trip under every profile").click()
    expect(page.page.get_by_role("rowheader", name="euroncap@")).to_be_visible(timeout=60_000)
    page.look("event")


def test_events_and_trips_page_by_page_and_by_kind(page: Console, service: Service) -> None:
    port = int(service.environ["MYSQL_HOST"].split(":")[1])
    store = metrics_store(
        data_dir=Path(service.environ["DATA_DIR"]),
        mysql_host=servers.HOST,
        mysql_port=port,
        mysql_user=service.environ["MYSQL_USER"],
        mysql_password=service.environ["MYSQL_PASSWORD"],
        mysql_database=service.environ["MYSQL_DATABASE"],
    )
    vehicle, began = uuid.uuid4(), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    for number in range(60):
        trip = Trip(uuid.uuid4(), vehicle, round((began + dt.timedelta(hours=number)).timestamp() * 1000))
        kind, peak = ("yawn", {"mouth_open_s": 2.4}) if number % 2 else ("phone_use", {"seen_s": 3.5})
        event = make_event(trip, 1, kind=kind, peak=peak, ended_ms=trip.opened_at_ms + 4000)
        store.save(None, [], replace(make_trip_record(trip), flagged=number % 3), [event])
    store.close()

    page.go(f"/trips?vehicle={vehicle}")
    rows = page.page.locator("tbody tr")
    for shown in (25, 50, 60):
        expect(rows).to_have_count(shown)
        if shown < 60:
            page.page.get_by_role("button", name="Older").click()
    expect(page.page.get_by_text("no older ones")).to_be_visible()
    page.page.get_by_label("Footage").select_option("false")
    page.page.get_by_role("button", name="Show").click()
    expect(rows).to_have_count(20)

    page.go(f"/events?vehicle={vehicle}")
    page.page.get_by_label("Kind").select_option("phone_use")
    page.page.get_by_label("Begun from").fill("2026-01-01T06:00")
    page.page.get_by_label("to", exact=True).fill("2026-01-01T13:00")
    page.page.get_by_role("button", name="Show").click()
    expect(rows).to_have_count(3)  # of the browser's zone: 5:00 to 12:00 UTC, the even hours of it
    page.look("events")
    page.go("/events?vehicle=nobody")
    expect(page.page.get_by_role("alert")).to_contain_text("vehicle")
    page.forgive(422)


def test_health_empty_and_missing_pages(page: Console) -> None:
    page.go("/health")
    expect(page.page.get_by_text("Frames are taken.")).to_be_visible()
    for part in ("Broker", "Detectors", "Database", "Footage store", "Journals"):
        expect(page.page.locator(".parts .fine").filter(has_text=part)).to_be_visible()
    page.look("health")
    page.go("/nothing")
    expect(page.page.get_by_text("There is no such page.")).to_be_visible()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, servers.Server]]:
    """A service with a token, a broker of its own that may go, and a Detector that sees at once."""
    with servers.mosquitto() as broker:
        settings = {
            "MQTT_BROKER_URL": "127.0.0.1",
            "MQTT_BROKER_PORT": str(broker.port),
            "API_TOKEN": TOKEN,
            "STREAM_IDLE_TIMEOUT_S": "300",
        }
        folder = tmp_path_factory.mktemp("guarded")
        config = folder / "serve_config.yaml"
        config.write_text(
            (Path("serve_config.yaml")).read_text().replace("serve_app.app:build", "benchmarks.stub:build")
        )
        with running(folder, config=config, **settings) as service:
            yield service, broker


def logged_in(page: Console) -> None:
    page.go()
    page.page.get_by_label("API_TOKEN").fill("a guess")
    page.page.get_by_role("button", name="Log in").click()
    expect(page.page.get_by_role("alert")).to_have_text("That is not the token.")
    page.page.get_by_label("API_TOKEN").fill(TOKEN)
    page.page.get_by_role("button", name="Log in").click()
    expect(page.page.locator("h1")).to_have_text("Fleet")
    page.forgive(401)


def test_behind_a_token_and_while_the_broker_is_away(
    browser: Browser, guarded: tuple[Service, servers.Server], tmp_path: Path
) -> None:
    service, broker = guarded
    vehicle = uuid.uuid4()
    with console(browser, service, tmp_path) as page:
        logged_in(page)
        expect(page.page.get_by_text("No vehicle has a stream open.")).to_be_visible()
        page.look("empty")
        with Devices(service.mqtt_port) as devices, Fleet(devices, {vehicle: blank(20)}, FPS):
            page.go(f"/vehicles/{vehicle}")
            expect(page.page.locator(".veil")).to_have_count(0)
            broker.stop()
            expect(page.page.locator(".veil")).to_have_text("the service has lost its broker")
            expect(page.page.locator(".banner")).to_contain_text("Frames cannot be taken now.")
            page.look("no-broker")
            broker.start()
            expect(page.page.locator(".banner")).to_have_count(0, timeout=30_000)
            expect(page.page.locator(".veil")).to_have_count(0, timeout=30_000)
            before = page.pixels("canvas")
            assert eventually(lambda: page.pixels("canvas") != before), "the picture moves again"
        page.forgive(503)
        page.go("/health")
        expect(page.page.get_by_text("Frames are taken.")).to_be_visible()
        assert page.complaints == []


def test_a_wall_of_tiles_moves_with_who_needs_someone_first(
    browser: Browser, guarded: tuple[Service, servers.Server], tmp_path: Path
) -> None:
    """Fifty tiles, and what they cost: `benchmarks.console`."""
    service, _ = guarded
    # Not all in step, as no fleet is: each vehicle begins somewhere else in the pictures.
    pictures = blank(10)
    fleet = {uuid.uuid4(): pictures[i % 10 :] + pictures[: i % 10] for i in range(TILES)}
    drinker = list(fleet)[-1]
    fleet[drinker] = [picture + DRINK for picture in pictures]
    with console(browser, service, tmp_path) as page, Devices(service.mqtt_port) as devices:
        logged_in(page)
        with Fleet(devices, fleet, FPS):
            expect(page.page.locator(".tile")).to_have_count(TILES, timeout=60_000)
            first = page.page.locator(".tile").first
            expect(first).to_contain_text("drinking", timeout=60_000)
            assert first.get_attribute("data-vehicle") == str(drinker)
            page.page.set_viewport_size({"width": 1280, "height": 1800})  # all of them can be seen
            assert eventually(lambda: all(page.pictures()), 60, every_s=1.0), "every tile has had a picture"
            before = page.pictures()
            assert eventually(lambda: all(map(operator.ne, before, page.pictures())), 60, every_s=1.0), (
                "each of them moves"
            )
            page.page.set_viewport_size({"width": 1280, "height": 900})
            page.look("wall")
        assert page.complaints == []
