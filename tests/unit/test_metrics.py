"""The table of metrics, what is told of them, and that dashboard and alerts ask for nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from actors.flush_tally import FlushTally, Steps
from models.types import Trip
from serve_app.export import Exporter
from serve_app.flush_tallies import FlushTallies
from serve_app.gateway_metrics import unstored
from serve_app.metrics import METRICS, PREFIX, TABLE, Buckets, buckets
from serve_app.recovery import Part
from serve_app.settings import PROJECT
from tests.builders import trip
from tests.fakes.metrics import FakeKept, FakeSeries
from tests.promql import dashboard_expressions, rule_expressions, selectors

UNITS = {"seconds": "_seconds", "bytes": "_bytes"}
BY_RAY = {"deployment", "replica", "application", "instance", "job"}


def test_names_are_as_prometheus_wants_them() -> None:
    assert len(METRICS) == len(TABLE)
    for metric in TABLE:
        assert re.fullmatch(r"dms_[a-z]+(_[a-z]+)*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.name.removesuffix("_total").endswith(UNITS.get(metric.unit, ""))
        assert metric.meaning.endswith(".")


def test_labels_are_few_and_bounded_and_none_is_a_vehicle() -> None:
    for metric in TABLE:
        assert len(list(metric.label_values)) <= 20
        assert not {"vehicle", "uuid", "trip", "le", *BY_RAY} & set(metric.labels)
        assert all(len(set(values)) == len(values) > 1 for values in metric.labels.values())
        assert (metric.kind == "histogram") == bool(metric.bounds)
        assert list(metric.bounds) == sorted(set(metric.bounds))


@pytest.mark.parametrize("where", [dashboard_expressions, rule_expressions])
def test_dashboard_and_alerts_ask_for_what_is_exported(where: Any) -> None:
    exported = {name: labels for metric in TABLE for name, labels in metric.exported.items()}
    for title, expression in where():
        asked = selectors(expression)
        assert asked, title
        for name, matchers in asked:
            assert name in exported, f"{title}: there is no {name}"
            for label, value in matchers.items():
                known = METRICS[_table_name(name)].labels[label]
                assert set(value.split("|")) <= set(known), f"{title}: {label} is never {value}"
        grouped = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
        assert grouped <= {label for name, _ in asked for label in exported[name]}, title


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {_table_name(name) for _, expression in dashboard_expressions() for name, _ in selectors(expression)}
    assert shown == set(METRICS)


def test_every_alert_says_what_to_do_in_a_line() -> None:
    rules = yaml.safe_load((PROJECT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))
    for rule in rules["groups"][0]["rules"]:
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["action"].count("\n") == 0 < len(rule["annotations"]["action"])
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["for"]


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    dashboard = json.loads((PROJECT / "deploy/grafana/dashboard.json").read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & mine, f"{panel['title']} lies on another panel"
        assert at["x"] + at["w"] <= 24
        cells |= mine
        assert panel["datasource"]["uid"] == "${datasource}"
    [variable] = dashboard["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")


def test_buckets_count_what_is_not_above_their_bound() -> None:
    one = Buckets((1.0, 2.5))
    for value in (0.5, 1.0, 1.1, 2.5, 7.0):
        one.add(value)
    assert one.up_to == [2, 4, 5]
    assert one.sum == pytest.approx(12.1)


def exporter() -> tuple[Exporter, FakeSeries]:
    """An exporter, and what Ray would know."""
    series = FakeSeries()
    return Exporter(series.make, series.make), series


def test_counters_begin_at_zero_and_grow_by_what_is_new() -> None:
    export, series = exporter()
    readings: dict[str, dict[tuple[str, ...], float | Buckets]] = {"dms_dropped_total": {("crashed",): 2}}
    export.export(lambda: readings)
    assert series['dms_dropped_total{reason="crashed"}'] == 2
    assert series['dms_dropped_total{reason="bad_uuid"}'] == 0
    before = series.calls
    export.export(lambda: readings)
    assert series.calls == before, "nothing is told twice"
    readings["dms_dropped_total"] = {("crashed",): 5, ("bad_uuid",): 1}
    export.export(lambda: readings)
    assert series['dms_dropped_total{reason="crashed"}'] == 5
    assert series['dms_dropped_total{reason="bad_uuid"}'] == 1


def test_a_histogram_is_told_by_the_names_that_prometheus_knows() -> None:
    export, series = exporter()
    stage = buckets("dms_stage_seconds")
    for seconds in (0.004, 0.3, 99.0):
        stage.add(seconds)
    export.export(lambda: {"dms_stage_seconds": {("push",): stage}, "dms_open_streams": {(): 3}})
    told = {
        le: series[f'dms_stage_seconds_bucket{{stage="push",le="{le}"}}'] for le in ("0.0025", "0.005", "0.5", "+Inf")
    }
    assert told == {"0.0025": 0, "0.005": 1, "0.5": 2, "+Inf": 3}
    assert series['dms_stage_seconds_count{stage="push"}'] == 3
    assert series['dms_stage_seconds_sum{stage="push"}'] == pytest.approx(99.304)
    assert series["dms_open_streams"] == 3


def test_what_fails_is_said_once_and_told_later(caplog: pytest.LogCaptureFixture) -> None:
    export, series = exporter()
    series.failures = [OSError("no agent"), OSError("no agent")]
    for _ in range(3):
        export.export(lambda: {"dms_alerts_total": {("phone",): 4}})
    assert series['dms_alerts_total{text="phone"}'] == 4
    assert caplog.text.count("metrics are not exported: OSError: no agent") == 1


def test_a_flush_that_fails_is_counted_at_once_and_one_that_ends_leaves_nothing() -> None:
    kept = FakeKept()
    tally, tallies = FlushTally(kept.put), FlushTallies(kept)
    tally.add("encode", "done", 2.0)
    tally.add("upload", "failed", 0.5)
    for _ in range(2):  # what was taken is not taken again
        tallies.collect()
        assert tallies.count == {("encode", "done"): 1, ("upload", "failed"): 1}
    tally.add("upload", "done", 0.25)
    tally.rest()
    tallies.collect()
    assert kept.texts == {}
    tally.add("upload", "done", 1.0)
    tally.rest()
    tallies.collect()
    assert tallies.count == {("encode", "done"): 1, ("upload", "failed"): 1, ("upload", "done"): 2}
    assert tallies.seconds == {("encode",): 2.0, ("upload",): 1.75}


def test_two_vehicles_are_added_up_and_nonsense_is_removed(caplog: pytest.LogCaptureFixture) -> None:
    kept = FakeKept()
    for tally in (FlushTally(kept.put), FlushTally(kept.put)):
        tally.add("rows", "done", 0.5)
        tally.rest()
    kept.put("flushes/of another version", '{"count": 7}')
    tallies = FlushTallies(kept)
    tallies.collect()
    assert (tallies.count, tallies.seconds) == ({("rows", "done"): 2}, {("rows",): 1.0})
    assert kept.texts == {}
    assert "is not understood" in caplog.text
    with pytest.raises(ValueError, match="no tally"):
        Steps.unpacked(b"[]")


def test_where_nothing_can_be_kept_a_flush_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    def away(_key: str, _text: str) -> None:
        raise OSError("no head")

    tally = FlushTally(away)
    tally.add("rows", "failed", 0.5)
    tally.rest()
    assert "no head" in caplog.text


def test_of_an_open_trip_the_part_under_way_is_not_counted_as_waiting() -> None:
    closed, opened = trip(1), trip(2)

    def part(of: Trip, number: int) -> Part:
        return of.vehicle, of.id, number

    parts = [part(closed, 1), part(closed, 2), part(opened, 1), part(opened, 2)]
    assert unstored(iter(parts), {opened.id, trip(3).id}) == 3


def _table_name(exported: str) -> str:
    name = exported.removeprefix(PREFIX)
    return name if name in METRICS else re.sub(r"_(bucket|sum|count)$", "", name)
