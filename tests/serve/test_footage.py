"""The footage of a trip, as a browser gets it."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from playwright.sync_api import Page, sync_playwright

from actors.journal import Journal
from actors.journal_records import Progress
from serve_app.simulator import load_source
from serve_app.synthetic import FPS, Clip
from tests import servers
from tests.builders import trip
from tests.serve.rows import check_condition, seqs
from tests.serve.service import Devices, Service, sha256
from tests.waiting import eventually

CHROMIUM_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A tab of a real Chromium."""
    program = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
    if program is None:
        servers.missing("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
        yield browser.new_page()
        browser.close()


def test_a_trip_plays_and_seeks_in_a_browser(
    service: Service, devices: Devices, mariadb: servers.MariaDb, clip: Clip, driver: list[bytes], page: Page
) -> None:
    closed = next(interval for interval in clip.truth if interval.what == "eyes closed")
    vehicle = uuid.uuid4()
    frames = driver[int(closed.start_s * FPS) : int(closed.end_s * FPS)]
    video, rows = drive(service, devices, mariadb, vehicle, frames, FPS)
    assert devices.hashes(vehicle) == [sha256(frame) for frame in frames]
    check_condition(rows, video["url"], "sleep_duration", until=len(frames) - 1)

    played = play(page, str(video["url"]), seek_s=1.5)
    assert played["readyState"] == 4
    assert (played["width"], played["height"]) == (640, 480)
    assert played["sought"] == pytest.approx(1.5, abs=0.01)
    length_s = (rows[-1]["time"] - rows[0]["time"]).total_seconds()
    assert played["duration"] == pytest.approx(length_s, abs=0.2)

    assert service.get(f"/footage/{_name(video)}", Range="bytes=0-99")[0] == 206
    assert service.get(f"/footage/{_name(video)}", Range="bytes=999999999-")[0] == 416
    assert service.get(f"/footage/2026-01-01/{vehicle}-{uuid.uuid4()}.mp4")[0] == 404


def test_the_yawn_of_the_clip_from_kaer_morhen(
    service: Service, devices: Devices, mariadb: servers.MariaDb, shared: Path, page: Page
) -> None:
    source = load_source(shared / "data/dev/videos/kaermorh_yawn.mp4")
    frames = [frame.jpeg for frame in source]
    video, rows = drive(service, devices, mariadb, uuid.uuid4(), frames, 24)
    at_s = [seq / 24 for seq in seqs(rows, video["url"])]  # of the clip, whenever the frame arrived
    yawning = [s for s, row in zip(at_s, rows, strict=True) if row["yawning_duration"]]
    sleeping = [s for s, row in zip(at_s, rows, strict=True) if row["sleep_duration"]]
    late = [s for s in (*yawning, *sleeping) if s > 8.0]
    print(f"\nyawning flagged from {yawning[0]:.1f} to {yawning[-1]:.1f} s; yawning or sleeping after 8 s: {late}")
    assert 1.5 < yawning[0] < 4.0 and yawning[-1] < 8.0
    assert not late
    played = play(page, str(video["url"]), seek_s=2.0)
    assert played["readyState"] == 4 and played["sought"] == pytest.approx(2.0, abs=0.01)


def test_a_trip_that_closes_while_database_and_storage_are_down_lands_when_they_are_back(
    service: Service, devices: Devices, mariadb: servers.MariaDb, gcs: servers.Gcs, clip: Clip, driver: list[bytes]
) -> None:
    closed = next(interval for interval in clip.truth if interval.what == "eyes closed")
    vehicle = uuid.uuid4()
    frames = driver[int(closed.start_s * FPS) : int(closed.end_s * FPS)]
    mariadb.stop()
    gcs.stop()
    try:
        devices.open(vehicle)
        devices.play({vehicle: frames}, FPS)
        devices.close(vehicle)
        assert eventually(lambda: service.get(f"/v1/streams/{vehicle}")[0] == 404)
        health = service.json("/healthz")
        assert health["database"] != "ok" and health["storage"] != "ok", "frames are taken all the same"
        waiting = eventually(lambda: [f for f in service.json("/v1/flushes") if f["last_error"]], 60)
        assert [(f["vehicle"], f["part"], f["step"]) for f in waiting] == [(str(vehicle), 1, "upload")]
        assert waiting[0]["attempt"] > 1 and waiting[0]["next_try_at"]
    finally:
        gcs.start()
        mariadb.start()
    video = eventually(lambda: _video(service, mariadb, vehicle), 90)
    assert video, "the trip landed"
    rows = _alerts(mariadb, service, video)
    check_condition(rows, video["url"], "sleep_duration", until=len(frames) - 1)
    assert eventually(lambda: service.json("/v1/flushes") == [])
    assert eventually(lambda: service.json("/healthz")["storage"] == "ok")
    assert service.get(f"/footage/{_name(video)}", Range="bytes=0-99")[0] == 206


def test_a_journal_that_no_actor_works_on_is_shown_all_the_same(service: Service) -> None:
    left = trip(4711)
    folder = Path(service.environ["DATA_DIR"]) / "journal"
    journal = Journal.create(folder, left, 1, Progress())  # held: the service cannot finish it
    try:
        [flush] = service.json("/v1/flushes")
        assert (flush["vehicle"], flush["trip"], flush["part"]) == (str(left.vehicle), str(left.id), 1)
        assert (flush["step"], flush["pid"], flush["object"]) == ("waiting", None, None)
    finally:
        journal.remove()
    assert eventually(lambda: service.json("/v1/flushes") == [])


def drive(
    service: Service, devices: Devices, mariadb: servers.MariaDb, vehicle: uuid.UUID, frames: list[bytes], fps: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A trip of these frames: its `videos` row, and its `alerts` rows."""
    devices.open(vehicle)
    devices.play({vehicle: frames}, fps)
    devices.close(vehicle)
    video = eventually(lambda: _video(service, mariadb, vehicle), 60)
    assert video, "the trip landed"
    return video, _alerts(mariadb, service, video)


def play(page: Page, url: str, *, seek_s: float) -> dict[str, float]:
    """Load the video in a page of its own origin, play it for a moment, seek; what the player says."""
    page.goto(url.split("/footage/", maxsplit=1)[0] + "/docs")
    played: dict[str, float] = page.evaluate(
        """async ([url, seek]) => {
            const video = document.createElement('video');
            video.muted = true; video.src = url; document.body.append(video);
            const event = name => new Promise((done, fail) => {
                video.addEventListener(name, done, {once: true});
                video.addEventListener('error', () => fail(new Error(video.error.message)), {once: true});
            });
            await event('canplaythrough');
            await video.play();
            await event('timeupdate');
            video.pause();
            const sought = event('seeked');
            video.currentTime = seek;
            await sought;
            return {readyState: video.readyState, sought: video.currentTime, duration: video.duration,
                    width: video.videoWidth, height: video.videoHeight};
        }""",
        [url, seek_s],
    )
    return played


def _name(video: dict[str, Any]) -> str:
    return str(video["url"]).split("/footage/")[1]


def _video(service: Service, mariadb: servers.MariaDb, vehicle: uuid.UUID) -> dict[str, Any] | None:
    query = "SELECT v.* FROM videos v JOIN vehicles k ON k.id = v.vehicle_id WHERE k.uuid = %s"
    return next(iter(_rows(mariadb, service, query, str(vehicle))), None)


def _alerts(mariadb: servers.MariaDb, service: Service, video: dict[str, Any]) -> list[dict[str, Any]]:
    return _rows(mariadb, service, "SELECT * FROM alerts WHERE video_id = %s ORDER BY time, id", video["id"])


def _rows(mariadb: servers.MariaDb, service: Service, query: str, *args: object) -> list[dict[str, Any]]:
    with (
        mariadb.root(service.environ["MYSQL_DATABASE"]) as connection,
        connection.cursor(pymysql.cursors.DictCursor) as cursor,
    ):
        cursor.execute(query, args)
        return list(cursor.fetchall())
