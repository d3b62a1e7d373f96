"""What the rows of a trip must say, whatever a busy machine did to the pace at which its frames arrived."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from actors.records import alert_uuid

MIN_DURATION_S = 1.0
MOST_FRAMES = 10_000


def check_condition(
    rows: Sequence[Mapping[str, Any]],
    url: str,
    column: Literal["sleep_duration", "yawning_duration", "focus_duration"],
    *,
    until: int,
) -> None:
    """A condition is flagged in every frame from its first second on up to frame `until`, and in no other.

    Which frame is the first flagged one depends on when the frames arrived; that it is the right one is seen from the
    times: all rows count their seconds from one and the same beginning, and the first of them has its second.

    Args:
        rows: Of `alerts`, with `time` as a datetime.
        url: Of `videos`.
        column: The condition.
        until: Number of the last frame, from 0, that shows it; half-way through a change, so give or take one.
    """
    trip = uuid.UUID(url[-len(".mp4") - 36 : -len(".mp4")])
    seq_of = {str(alert_uuid(trip, seq)): seq for seq in range(MOST_FRAMES)}
    held = sorted((seq_of[row["uuid"]], row["time"], row[column]) for row in rows if row[column] > 0)
    seqs = [seq for seq, _, _ in held]
    assert seqs == list(range(seqs[0], seqs[-1] + 1)), "not one frame is missing in between"
    assert seqs[-1] == pytest.approx(until, abs=1)
    began = [time - dt.timedelta(seconds=duration_s) for _, time, duration_s in held]
    assert max(began) - min(began) <= dt.timedelta(milliseconds=2), "one beginning, to the millisecond of a row's time"
    assert held[0][2] >= MIN_DURATION_S
    # On an idle machine all but 15 frames of each story are flagged, which are 30 or more.
    assert len(held) >= 20
