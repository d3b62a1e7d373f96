"""Traces: what the models saw, written and read back, and scored again."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from models.policy import Policy
from models.profiles import PROFILES
from models.rescore import report, rescored
from models.trace import Row, TraceError, TraceHead, observation_of, read_trace, row_of, write_trace
from models.types import Observation, PictureStats
from tests.builders import AWAY, CLOSED, observation, trip

TRIP = trip()
HEAD = TraceHead(TRIP.id, TRIP.vehicle, TRIP.opened_at_ms, 1, "default@2", "weights-0a1b2c3d landmarker-478")
PICTURE = PictureStats(120.5, 44.0, 0.31, 3_000_000_000)


def rows(*moments: tuple[float, float, Observation]) -> list[Row]:
    """At ten frames a second."""
    return [row_of(said, tick / 10) for start, end, said in moments for tick in range(int(start * 10), int(end * 10))]


def written(head: TraceHead, frames: list[Row]) -> str:
    file = io.StringIO()
    write_trace(file, head, frames)
    return file.getvalue()


SLEEPY = rows(
    (0, 70, observation()),
    (70, 74, observation(**CLOSED)),
    (74, 90, observation()),
    (90, 93.8, observation(**AWAY)),
    (93.8, 100, observation("phone")),
)


@pytest.mark.parametrize(
    "said",
    [
        observation("bottle", "phone", yaw_deg=-12.25, pack="mesh-468-iris"),
        observation(eye_blink=0.0123, jaw_open=0.75),
        observation(face=None),
        Observation(picture=PICTURE),
    ],
)
def test_a_row_says_what_was_seen(said: Observation) -> None:
    [again] = json.loads(json.dumps([row_of(said, 12.3456)]))
    assert observation_of(again) == (said, 12.3456)


def test_a_row_from_before_the_blendshapes_is_read_as_it_was() -> None:
    captured_s, seen, objects, picture = row_of(observation(eye_blink=0.9, jaw_open=0.9), 1.0)
    assert observation_of([captured_s, seen[:11], objects, picture]) == (observation(), 1.0)


def test_what_was_written_is_read_back_a_line_for_each_frame() -> None:
    text = written(HEAD, SLEEPY)
    assert read_trace(text) == (HEAD, SLEEPY)
    assert len(text.splitlines()) == len(SLEEPY) + 2
    assert read_trace(written(HEAD, [])) == (HEAD, [])


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 2}', written(HEAD, [])[:-5]])
def test_something_else_is_no_trace(text: str) -> None:
    with pytest.raises(TraceError):
        read_trace(text)


@pytest.mark.parametrize("row", [[], [0, [9], [], None], [0, None, [["phone"]], [1]], 7])
def test_a_row_that_is_none_is_said(row: Row) -> None:
    with pytest.raises(TraceError, match="no row of a trace"):
        observation_of(row)


def test_the_same_profile_finds_the_same_events_as_the_trip_had() -> None:
    policy = Policy(PROFILES["default"])
    had = {event.number: event for row in SLEEPY for event in policy.step(*observation_of(row)).events}
    had |= {event.number: event for event in policy.end()}
    assert rescored([(HEAD, SLEEPY)], PROFILES["default"]) == sorted(had.values(), key=lambda one: one.started_s)
    assert {event.kind for event in had.values()} == {"sleep", "distraction_long", "phone_use"}


def test_another_profile_shows_what_is_different() -> None:
    lines = list(report([(HEAD, SLEEPY)], PROFILES["guardian"]))
    assert [line for line in lines if line[0] in "-+~="] == [
        "-    90.00 -    93.80 s  distraction_long   high",
        "=    70.00 -    74.00 s  sleep              critical",
        "=    93.80 -    99.90 s  phone_use          high",
    ]


def test_a_trip_in_parts_is_one_trip(tmp_path: Path) -> None:
    half = len(SLEEPY) // 4 * 3 - 30  # in the middle of the sleep
    name = str(TRIP.id)
    folder = tmp_path / "footage" / "traces" / "2025-12-31"
    folder.mkdir(parents=True)
    second = TraceHead(TRIP.id, TRIP.vehicle, TRIP.opened_at_ms, 2, HEAD.policy, HEAD.models)
    (folder / f"{name}.json").write_text(written(HEAD, SLEEPY[:half]))
    (folder / f"{name}-2.json").write_text(written(second, SLEEPY[half:]))
    done = command(str(TRIP.id), "--profile", "addw", "--footage", str(tmp_path / "footage"))
    assert done.returncode == 0
    assert done.stdout.count("sleep") == 1
    assert f"trip {TRIP.id}" in done.stdout and "addw@2" in done.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [(str(uuid.UUID(int=7)), "no trace in"), ("nowhere.json", "No such file"), (__file__, "no trace")],
)
def test_a_trip_that_cannot_be_scored_is_one_line(given: str, said: str, tmp_path: Path) -> None:
    done = command(given, "--footage", str(tmp_path))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and said in done.stderr


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "models.rescore", *arguments], capture_output=True, text=True, check=False
    )
