"""From counts to Ray, whose agent on each node keeps them for Prometheus (docs/adr/0027-metrics.md)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from ray.serve import metrics

from models.errors import one_line
from models.once_per import OncePer
from serve_app.metrics import METRICS, Buckets, Metric

_log = logging.getLogger(__name__)

EXPORT_S = 1.0
"""Ray passes on what it was told every 10 s (`RAY_metrics_report_interval_ms`), and forgets a gauge after two such."""
LOG_INTERVAL_S = 3600.0

Readings = Mapping[str, Mapping[tuple[str, ...], float | Buckets]]
"""By metric and label values: a gauge's value, a counter's total since the start, a histogram's buckets."""


class Exporter:
    """Tells Ray the readings of one process.

    Each counter begins at 0 in all its label values: a series that begins at its first drop would show no increase.
    Ray's own histograms are told value by value, and its agent takes them apart and guesses their sum; these here are
    gauges by the names that a histogram's series have, which Prometheus does not tell from one.

    Args:
        counter: `ray.serve.metrics.Counter`, or what has its methods.
        gauge: `ray.serve.metrics.Gauge`, likewise.
    """

    def __init__(
        self, counter: Callable[..., Any] = metrics.Counter, gauge: Callable[..., Any] = metrics.Gauge
    ) -> None:
        self._counter = counter
        self._gauge = gauge
        self._instruments: dict[str, Any] = {}
        self._told: dict[tuple[str, tuple[str, ...]], float] = {}
        self._logged = OncePer(LOG_INTERVAL_S)

    def export(self, read: Callable[[], Readings]) -> None:
        """Tell what changed; never raises, since no frame may wait for a number."""
        try:
            for name, series in read().items():
                self._tell(METRICS[name], series)
        except Exception as error:  # noqa: BLE001 - whatever Ray says, the next second may go through
            self.complain("metrics are not exported", error)

    def export_forever(self, read: Callable[[], Readings]) -> None:
        """Once a second, on a thread of its own."""
        while True:
            self.export(read)
            time.sleep(EXPORT_S)

    def complain(self, what: str, error: Exception) -> None:
        """Log it, once an hour."""
        if self._logged.due((what, type(error).__name__), time.monotonic()):
            _log.warning("%s: %s", what, one_line(error))

    def _tell(self, metric: Metric, series: Mapping[tuple[str, ...], float | Buckets]) -> None:
        if metric.kind == "counter":
            for values in metric.label_values:
                total = series.get(values, 0.0)
                assert not isinstance(total, Buckets)  # noqa: S101 - by its kind
                self._count(metric, values, total)
            return
        for values, reading in series.items():
            tags = dict(zip(metric.labels, values, strict=True))
            if isinstance(reading, Buckets):
                self._tell_buckets(metric, tags, reading)
            else:
                self._set(metric, metric.name, tags, reading)

    def _count(self, metric: Metric, values: tuple[str, ...], total: float) -> None:
        before = self._told.get((metric.name, values))
        if before is not None and total <= before:
            return
        tags = dict(zip(metric.labels, values, strict=True))
        counter = self._instrument(self._counter, metric, metric.name, tags)
        if total > (before or 0.0):
            counter.inc(total - (before or 0.0), tags)
        else:
            counter._record(0.0, {**tags})  # noqa: SLF001 - inc() refuses 0
        self._told[metric.name, values] = total

    def _tell_buckets(self, metric: Metric, tags: dict[str, str], reading: Buckets) -> None:
        up_to = reading.up_to
        for bound, count in zip((*map(str, metric.bounds), "+Inf"), up_to, strict=True):
            self._set(metric, f"{metric.name}_bucket", {**tags, "le": bound}, count)
        self._set(metric, f"{metric.name}_sum", tags, reading.sum)
        self._set(metric, f"{metric.name}_count", tags, up_to[-1])

    def _set(self, metric: Metric, name: str, tags: dict[str, str], value: float) -> None:
        self._instrument(self._gauge, metric, name, tags).set(value, tags)

    def _instrument(self, make: Callable[..., Any], metric: Metric, name: str, tags: dict[str, str]) -> Any:
        if name not in self._instruments:
            self._instruments[name] = make(name, metric.meaning, tuple(tags))
        return self._instruments[name]
