"""An hour of a fleet's driving beside a real Prometheus and a real browser: all metrics move, all tiles, all panels."""

from __future__ import annotations

import math
import operator
import time
import uuid
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import expect
from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

from serve_app.metrics import METRICS, PREFIX, TABLE
from serve_app.synthetic import FPS
from tests import servers
from tests.builders import TINY_JPEG
from tests.promql import ALERTS, PROMETHEUS, dashboard_expressions, rule_expressions, selectors
from tests.serve.browser import WIDE, Console, chromium, console
from tests.serve.service import Devices, Fleet, Service, blank, running
from tests.waiting import eventually

GOOD = blank(1)[0]
MAILBOX_FRAMES = 20
VEHICLES, FLEET_FPS = 50, 5.0
FLOOD_FPS, FLOOD_S = 150, 6
HOUR_S = 3600
"""Of driving, all vehicles of the fleet together."""
WATCH_S = 15
SHOWN_S = 18
"""Of the clip: closed eyes, an open mouth, and for long enough a head turned away."""
EVERYTHING = '{__name__=~"ray_dms_.*"}'
BY_RAY = {"application", "deployment", "replica"}
NOT_MADE_HERE = {"crashed", "disk_full", "not_relayed", "shutting_down", "too_many_opens", "too_many_scans"}
"""Reasons to drop something that take a fault which this story does without; unit tests and `make chaos` make them."""
MOVES = {
    "dms_frames_total": {"received", "relayed", "observed", "flagged"},
    "dms_stage_seconds_count": {"observe", "detect", "decode", "models", "push"},
    "dms_alerts_total": {"sleeping", "yawning", "not focus"},
    "dms_flush_step_seconds_total": {"waiting", "encode", "upload", "rows"},
}


@pytest.mark.timeout(600)
def test_an_hour_of_a_fleet_is_on_the_wall_moves_every_metric_and_gives_every_panel_and_alert_data(
    tmp_path: Path, driver: list[bytes]
) -> None:
    with (
        servers.mosquitto() as broker,
        running(
            tmp_path,
            MQTT_BROKER_URL="127.0.0.1",
            MQTT_BROKER_PORT=str(broker.port),
            STREAM_IDLE_TIMEOUT_S="300",
            MAX_VEHICLES=str(2 + VEHICLES),
            MAILBOX_FRAMES=str(MAILBOX_FRAMES),
            RAY_metrics_report_interval_ms="1000",
        ) as service,
        servers.prometheus(_config(tmp_path, service)) as prometheus,
        chromium() as browser,
        console(browser, service, tmp_path) as page,
    ):

        def sees(expression: str, timeout_s: float = 60.0) -> bool:
            return bool(eventually(lambda: prometheus.query(expression), timeout_s, every_s=0.5))

        footage = tmp_path / "data" / "footage"
        assert sees("ray_dms_broker_connected == 1"), "it is scraped"
        assert sees("sum(ray_dms_dropped_total) == 0"), "counters begin at 0"
        with Devices(broker.port) as devices:
            two = _drive(devices, driver)
            assert sees('ray_dms_dropped_total{reason="unreadable"} == 1')
            with Fleet(devices, _streams(), FLEET_FPS):
                opened_s = time.monotonic()
                footage.rmdir()
                footage.write_text("where the folder should be")
                assert sees(f"ray_dms_open_streams == {2 + VEHICLES}")
                _find_no_room(devices)
                devices.play({two[0]: [GOOD] * (FLOOD_FPS * FLOOD_S)}, FLOOD_FPS)
                for vehicle in two:
                    devices.close(vehicle)
                _watch_wall(page)
                time.sleep(max(0.0, opened_s + HOUR_S / VEHICLES - time.monotonic()))
        assert sees('ray_dms_dropped_total{reason="mailbox_full"} > 0')
        assert sees('ray_dms_flush_steps_total{step="upload",outcome="failed"} > 1')
        assert sees("ray_dms_unstored_parts >= 2")  # and what the fleet has left
        service.replica("Detector").kill()
        assert sees("min_over_time(ray_dms_detector_replicas[20s]) == 0")  # the next one may be there soon
        footage.unlink()
        assert sees("ray_dms_unstored_parts == 0", 90)
        assert sees("ray_dms_detector_replicas == 1", 120)
        broker.stop()
        assert sees("ray_dms_broker_connected == 0")
        broker.start()
        assert sees("ray_dms_broker_connected == 1")

        _check_names(prometheus)
        _check_moves(prometheus)
        for title, expression in dashboard_expressions(rate_interval="15m"):
            values = [float(series["value"][1]) for series in prometheus.query(expression)]
            assert any(not math.isnan(value) for value in values), f"{title}: {expression} has no data"
        for title, expression in rule_expressions():
            for name, matchers in selectors(expression):
                asked = ",".join(f'{label}=~"{value}"' for label, value in matchers.items())
                assert prometheus.query(f"{name}{{{asked}}}"), f"{title}: {name}{{{asked}}} has no data"
        rules = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
        assert {(rule["name"], rule["health"]) for rule in rules} == {(title, "ok") for title, _ in rule_expressions()}
        print(f"\n{len(prometheus.query(EVERYTHING))} series")


def _config(folder: Path, service: Service) -> Path:
    """deploy/prometheus/prometheus.yml for this service, every second."""
    config = yaml.safe_load(PROMETHEUS.read_text(encoding="utf-8"))
    [job] = config["scrape_configs"]
    [found_by] = job["file_sd_configs"]
    assert [Path(path).name for path in found_by["files"]] == [PROMETHEUS_SERVICE_DISCOVERY_FILE]
    found_by |= {"files": [str(service.ray_session / PROMETHEUS_SERVICE_DISCOVERY_FILE)], "refresh_interval": "1s"}
    config |= {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [str(ALERTS)]}
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def _drive(devices: Devices, driver: list[bytes]) -> tuple[uuid.UUID, uuid.UUID]:
    """Two vehicles drive, and junk comes in; the two, still open."""
    one, other = uuid.uuid4(), uuid.uuid4()
    for vehicle in (one, other):
        devices.open(vehicle)
    frames = driver[: round(SHOWN_S * FPS)]
    devices.play({one: frames, other: frames}, FPS)
    lie = bytearray(GOOD)
    at = lie.find(b"\xff\xc0")
    lie[at + 5 : at + 9] = b"\x1f\x40\x1f\x40"
    for junk in (b"no picture", GOOD[:900], GOOD + bytes(2 * 2**20), bytes(lie), TINY_JPEG):
        devices.send(f"stream/{one}", junk)
    devices.send("stream/nobody", GOOD)
    return one, other


def _streams() -> dict[uuid.UUID, list[bytes]]:
    """Of the fleet, whose pictures are not all in step, as no fleet's are."""
    pictures = blank(10)
    return {uuid.uuid4(): pictures[i % 10 :] + pictures[: i % 10] for i in range(VEHICLES)}


def _find_no_room(devices: Devices) -> None:
    vehicle = uuid.uuid4()
    devices.open(vehicle)
    devices.send(f"stream/{vehicle}", GOOD)


def _watch_wall(page: Console) -> None:
    """Every tile moves; what that costs on these cores, which are the whole service's as well, is stated."""
    page.see_all(VEHICLES)
    page.go("/")
    expect(page.page.locator(".tile")).to_have_count(VEHICLES, timeout=60_000)
    expect(page.page.locator(".veil")).to_have_count(0, timeout=60_000)
    before = page.pictures()
    assert eventually(lambda: all(map(operator.ne, before, page.pictures())), 60, every_s=1.0), "every tile moves"
    print(f"\n{VEHICLES} tiles, {VEHICLES * FLEET_FPS:.0f} frames/s sent: {page.cost(WATCH_S)}")
    page.page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
    page.look("wall")
    assert page.complaints == []


def _check_names(prometheus: servers.Prometheus) -> None:
    """What is exported is what the table says, names and labels."""
    expected = {name: set(labels) for metric in TABLE for name, labels in metric.exported.items()}
    found = {}
    for series in prometheus.query(EVERYTHING):
        labels = dict(series["metric"])
        name = labels.pop("__name__")
        found[name] = set(labels) & (BY_RAY | expected.get(name, set()))
        metric = METRICS.get(name.removeprefix(PREFIX))
        for label, values in metric.labels.items() if metric else ():
            assert labels[label] in values
    assert found == {name: labels | BY_RAY for name, labels in expected.items()}


def _check_moves(prometheus: servers.Prometheus) -> None:
    """Every metric has moved, and in these every value of the label that the story makes."""
    own = {name.removeprefix(PREFIX): labels for metric in TABLE for name, labels in metric.exported.items()}

    def moved(name: str) -> set[str]:
        asked = f"max_over_time({PREFIX}{name}[30m]) - min_over_time({PREFIX}{name}[30m]) > 0"
        return {"/".join(one["metric"][label] for label in own[name]) for one in prometheus.query(asked)}

    assert [name for name in own if not moved(name)] == [], "these stood still"
    for name, values in MOVES.items():
        assert values <= moved(name)
    assert moved("dms_dropped_total") == set(METRICS["dms_dropped_total"].labels["reason"]) - NOT_MADE_HERE
    steps = {"encode", "rows", "upload", "waiting"}
    assert moved("dms_flush_steps_total") == {f"{step}/done" for step in steps} | {"upload/failed"}
    events = moved("dms_events_total")
    assert events & {"microsleep", "sleep"}
    print(f"\nevents: {sorted(events)}; alerts: {sorted(moved('dms_alerts_total'))}")
