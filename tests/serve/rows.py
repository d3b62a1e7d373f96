"""What the rows of a trip must say, whatever a busy machine did to the pace at which its frames arrived."""

from __future__ import annotations

import datetime as dt
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from actors.records import alert_uuid

MIN_DURATION_S = 1.0
GAP_S = 1.0
"""A longer one between two frames is unknown time, and every condition begins anew after it."""
MOST_FRAMES = 10_000

Column = Literal["sleep_duration", "yawning_duration", "focus_duration"]


def stored(database: sqlite3.Connection) -> tuple[str, list[dict[str, Any]]]:
    """The URL of the only video in SQLite, and its rows of `alerts` in order."""
    database.row_factory = sqlite3.Row
    [video] = database.execute("SELECT * FROM videos").fetchall()
    rows = database.execute("SELECT * FROM alerts WHERE video_id = ? ORDER BY time, id", (video["id"],)).fetchall()
    return video["url"], [{**row, "time": dt.datetime.fromisoformat(row["time"])} for row in rows]


def seqs(rows: Sequence[Mapping[str, Any]], url: str) -> list[int]:
    """The numbers of the rows' frames in their trip, from 0.

    Args:
        rows: Of `alerts`.
        url: Of `videos`.
    """
    trip = uuid.UUID(url[-len(".mp4") - 36 : -len(".mp4")])
    seq_of = {str(alert_uuid(trip, seq)): seq for seq in range(MOST_FRAMES)}
    return [seq_of[row["uuid"]] for row in rows]


def check_condition(rows: Sequence[Mapping[str, Any]], url: str, column: Column, *, until: int) -> None:
    """A condition is flagged in every frame from its first second on up to frame `until`.

    Which frame is the first flagged one depends on when the frames arrived; that it is the right one is seen from the
    times: all rows count their seconds from one and the same beginning, and the first of them has its second and not
    a gap more. Where the machine stood still for longer than a gap, all that is true of the rows before and after.

    Args:
        rows: Of `alerts`, with `time` as a datetime, in order.
        url: Of `videos`.
        column: The condition.
        until: Number of the last frame, from 0, that shows it; half-way through a change, so give or take one.
    """
    held = [row for row in rows if row[column] > 0]
    numbers = seqs(held, url)
    assert numbers[-1] == pytest.approx(until, abs=1)
    began = [row["time"] - dt.timedelta(seconds=row[column]) for row in held]
    starts = [0, *(i for i in range(1, len(held)) if began[i] - began[i - 1] > dt.timedelta(milliseconds=2))]
    for start, end in zip(starts, [*starts[1:], len(held)], strict=True):
        assert numbers[start:end] == list(range(numbers[start], numbers[start] + end - start)), "a frame is missing"
        assert max(began[start:end]) - min(began[start:end]) <= dt.timedelta(milliseconds=2), "a row's time has no more"
        assert MIN_DURATION_S <= held[start][column] <= MIN_DURATION_S + GAP_S
    for start in starts[1:]:
        assert began[start] - held[start - 1]["time"] > dt.timedelta(seconds=GAP_S), "it began anew without a gap"
