"""The console in a real Chromium: a fleet that drives, and what it leaves."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from models.types import Trip
from serve_app import synthetic
from serve_app.adapters.sql import metrics_store
from tests import servers
from tests.builders import make_event
from tests.contract.databases import make_trip_record
from tests.serve.browser import Console, chromium, console
from tests.serve.service import Devices, Fleet, Service, blank
from tests.waiting import eventually

FPS = 5.0
"""Little enough for two cores to see everything at once, with a browser beside."""
NOTHING = "\N{EN DASH}"


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
        Fleet(devices, {other: blank(20), vehicle: driver[:: round(synthetic.FPS / FPS)]}, FPS),
        console(browser, service, folder) as page,
    ):
        page.go("/")
        tiles = page.page.locator(".tile")
        expect(tiles).to_have_count(2)
        expect(page.page.locator(".veil")).to_have_count(0)
        for junk in (b"", b"bm8gcGljdHVyZQ==") * 3:  # that anybody may say where brokers let them
            devices.send(f"base64/{other}", junk)
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
        page.go("/")
        # It opened after the other, and comes before it while its driver sleeps: again in every turn of the clip.
        expect(tiles.first).to_contain_text("sleep", timeout=60_000)
        expect(tiles.first).to_have_attribute("data-vehicle", str(vehicle))
        page.go(f"/vehicles/{vehicle}")

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
