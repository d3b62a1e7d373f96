"""Every metric of the service in one table. Plain data and plain counting; `serve_app.export` hands it to Ray."""

from __future__ import annotations

import itertools
import sys
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from actors.flush import Step
from actors.flush_tally import Outcome
from models.types import Condition, DropReason, EventKind, Label

Kind = Literal["counter", "gauge", "histogram"]
FrameOutcome = Literal["received", "relayed", "observed", "flagged"]
Stage = Literal["observe", "detect", "decode", "models", "push"]

PREFIX = "ray_"
"""Of every name, as Ray exports it."""
STAGE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCH_FRAMES = (1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 32.0, 64.0, 128.0, 256.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric.

    Args:
        name: As Prometheus wants it, with its unit in it; Ray puts `ray_` before it.
        kind: Of Prometheus' kinds.
        unit: Of its values.
        meaning: One sentence for who reads a graph.
        labels: Their names, and every value that each may have: so many series there are at most, for each replica.
        bounds: Of a histogram's buckets, rising; the last one, without a bound, comes on top.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()

    @property
    def label_values(self) -> Iterator[tuple[str, ...]]:
        """Every set of label values, in the order of `labels`."""
        return itertools.product(*self.labels.values())

    @property
    def exported(self) -> dict[str, tuple[str, ...]]:
        """The names that Prometheus sees, each with its labels but those that Ray and Serve add."""
        name, labels = PREFIX + self.name, tuple(self.labels)
        if self.kind != "histogram":
            return {name: labels}
        return {f"{name}_bucket": (*labels, "le"), f"{name}_sum": labels, f"{name}_count": labels}


TABLE = (
    Metric(
        "dms_frames_total",
        "counter",
        "frames",
        "How far frames came: received on `stream/`, relayed as base64, observed by the models, flagged.",
        {"outcome": get_args(FrameOutcome)},
    ),
    Metric(
        "dms_dropped_total",
        "counter",
        "messages",
        "Frames and messages given up, by the reasons of the README.",
        {"reason": get_args(DropReason)},
    ),
    Metric("dms_open_streams", "gauge", "streams", "Vehicles with an open trip."),
    Metric("dms_backlog_frames", "gauge", "frames", "Frames that wait for detection, of all vehicles."),
    Metric("dms_backlog_bytes", "gauge", "bytes", "Their bytes."),
    Metric(
        "dms_batch_frames",
        "histogram",
        "frames",
        "Frames in a call to a Detector that was answered.",
        bounds=BATCH_FRAMES,
    ),
    Metric(
        "dms_stage_seconds",
        "histogram",
        "seconds",
        "How long a stage takes: `observe` a frame from its receipt until the models have answered, waiting included; "
        "`detect` a batch from the Gateway to a Detector and back; in there, `decode` its pictures and `models` both "
        "models; `push` frames to their vehicle, until they are in its journal, its start and repeats included.",
        {"stage": get_args(Stage)},
        STAGE_S,
    ),
    Metric(
        "dms_alerts_total",
        "counter",
        "alerts",
        "Alerts said on `alert/`, by their text.",
        {"text": (*get_args(Label), *get_args(Condition))},
    ),
    Metric(
        "dms_events_total",
        "counter",
        "events",
        "Events that have ended, by kind (docs/events.md).",
        {"kind": get_args(EventKind)},
    ),
    Metric("dms_broker_connected", "gauge", "0 or 1", "Whether the broker sends the Gateway what it subscribed to."),
    Metric("dms_detector_replicas", "gauge", "replicas", "Detectors that run, as Serve's controller sees it."),
    Metric(
        "dms_flush_steps_total",
        "counter",
        "attempts",
        "Attempts at a step of a flush. A part of a trip takes one `waiting` (until the stores are open), one "
        "`encode`, two `upload` (MP4, trace) and two `rows` (the transaction, and the end of its journal).",
        {"step": get_args(Step), "outcome": get_args(Outcome)},
    ),
    Metric(
        "dms_flush_step_seconds_total",
        "counter",
        "seconds",
        "What these attempts took; `encode` with the wait for a place to encode.",
        {"step": get_args(Step)},
    ),
    Metric("dms_unstored_parts", "gauge", "parts", "Closed parts of trips whose journals are not stored yet."),
    Metric("dms_journal_bytes", "gauge", "bytes", "Size of all journals, on all nodes."),
)

METRICS = {metric.name: metric for metric in TABLE}


class Buckets:
    """A histogram's counts in plain numbers: some hundred nanoseconds for each value.

    Args:
        bounds: See `Metric`.
    """

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value; one that equals a bound is below it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    @property
    def up_to(self) -> list[int]:
        """How many values lie below each bound and, last, how many there are."""
        return list(itertools.accumulate(self._counts))


def buckets(name: str) -> Buckets:
    """Empty ones for this histogram."""
    return Buckets(METRICS[name].bounds)


def metrics_table() -> str:
    """The table in Markdown, without a line end."""
    rows = [f"| `{PREFIX}{m.name}` | {m.kind} | {m.unit} | {_labels(m)} | {m.meaning} |" for m in TABLE]
    return "\n".join(["| name | kind | unit | labels | meaning |", "|---|---|---|---|---|", *rows])


def _labels(metric: Metric) -> str:
    return "; ".join(f"`{name}`: {', '.join(values)}" for name, values in metric.labels.items())


if __name__ == "__main__":
    sys.stdout.write(metrics_table() + "\n")
