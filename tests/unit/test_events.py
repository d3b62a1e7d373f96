"""Stories of drivers on both sides of every threshold, at any frame rate."""

from __future__ import annotations

import dataclasses
import functools
import json
import random
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.events import Event, Events, Signs
from models.profiles import PROFILES, ProfileName

FINE = Signs(
    eyes_closed=False,
    head_away=False,
    mouth_open=False,
    no_face=False,
    blind=False,
    phone=False,
    smoking=False,
    drinking=False,
)
NOBODY = Signs(no_face=True, blind=False, phone=False, smoking=False, drinking=False)
BLIND = Signs(blind=True)

Story = Sequence[tuple[float, Signs]]
"""Stretches: how many seconds, and what they show."""


def showing(**signs: bool) -> Signs:
    """A fine driver but for these."""
    return dataclasses.replace(FINE, **signs)


SHUT, AWAY, YAWN = showing(eyes_closed=True), showing(head_away=True), showing(mouth_open=True)
PHONE, SMOKE, DRINK = showing(phone=True), showing(smoking=True), showing(drinking=True)


def frames(story: Story, fps: float = 10, *, start_s: float = 0.0) -> list[tuple[float, Signs]]:
    """Frames of a story at an even rate; each stretch begins with its first frame."""
    ends_s, at_s = [], 0.0
    for seconds, _ in story:
        at_s += seconds
        ends_s.append(at_s)
    found = []
    for n in range(round(at_s * fps)):
        shows = next(signs for end_s, (_, signs) in zip(ends_s, story, strict=True) if n / fps < end_s - 1e-9)
        found.append((start_s + n / fps, shows))
    return found


def play(sent: Iterable[tuple[float, Signs]], profile: ProfileName = "default") -> tuple[list[Event], list[Event]]:
    """Every change, and the last word on each event."""
    events = Events(PROFILES[profile])
    changes = [event for at_s, signs in sent for event in events.step(signs, at_s)]
    last = {event.number: event for event in changes}
    return changes, [last[number] for number in sorted(last)]


def kinds(story: Story, profile: ProfileName = "default", fps: float = 10) -> list[str]:
    """The kinds of the events of a story, in order."""
    return [event.kind for event in play(frames(story, fps), profile)[1]]


CALM = (3.0, FINE)
REST = (10.0, FINE)


@pytest.mark.parametrize(
    ("signs", "seconds", "before", "from_then"),
    [
        (SHUT, 1.5, [], ["microsleep"]),
        (SHUT, 3.0, ["microsleep"], ["sleep"]),
        (SHUT, 6.0, ["sleep"], ["sleep", "unresponsive"]),
        (AWAY, 3.0, [], ["distraction_long"]),
        (AWAY, 6.0, ["distraction_long"], ["distraction_long", "unresponsive"]),
        (YAWN, 2.0, [], ["yawn"]),
        (PHONE, 2.0, [], ["phone_use"]),
        (SMOKE, 2.0, [], ["smoking"]),
        (DRINK, 2.0, [], ["drinking"]),
        (NOBODY, 10.0, [], ["no_face"]),
        (BLIND, 10.0, [], ["camera_blind"]),
    ],
)
def test_each_begins_at_its_time_and_not_a_frame_before(
    signs: Signs, seconds: float, before: list[str], from_then: list[str]
) -> None:
    # With its first frame at t, a stretch has lasted so long at the frame of t + seconds.
    assert kinds([CALM, (seconds, signs), REST]) == before
    assert kinds([CALM, (seconds + 0.1, signs), REST]) == from_then


@pytest.mark.parametrize(
    ("signs", "runs_s", "pause_s", "kind"),
    [
        (SHUT, 2.0, 0.5, "microsleep"),
        (SHUT, 4.0, 1.0, "sleep"),
        (AWAY, 4.0, 2.0, "distraction_long"),
        (YAWN, 3.0, 1.0, "yawn"),
        (PHONE, 3.0, 3.0, "phone_use"),
        (SMOKE, 3.0, 5.0, "smoking"),
        (DRINK, 3.0, 5.0, "drinking"),
        (NOBODY, 11.0, 2.0, "no_face"),
        (BLIND, 11.0, 2.0, "camera_blind"),
    ],
)
def test_each_ends_after_its_pause_and_from_when_it_was_over(
    signs: Signs, runs_s: float, pause_s: float, kind: str
) -> None:
    short, _ = play(frames([CALM, (runs_s, signs), (pause_s, FINE)]))
    assert [e.ended_s for e in short if e.kind == kind] == [None]
    changes, _ = play(frames([CALM, (runs_s, signs), (pause_s + 0.1, FINE)]))
    [begun, ended] = [e for e in changes if e.kind == kind]
    assert (begun.started_s, begun.ended_s) == (3.0, None)
    assert ended.ended_s == pytest.approx(3.0 + runs_s)
    assert ended.coverage == 1.0


def test_a_microsleep_becomes_a_sleep_under_the_same_number() -> None:
    changes, _ = play(frames([CALM, (4.0, SHUT), REST]))
    assert [(e.number, e.kind, e.severity, e.ended_s) for e in changes] == [
        (1, "microsleep", "high", None),
        (1, "sleep", "critical", None),
        (1, "sleep", "critical", pytest.approx(7.0)),
    ]
    assert changes[-1].peak["eyes_closed_s"] == pytest.approx(3.9)


def test_the_same_within_five_seconds_of_its_end_is_the_same_event() -> None:
    changes, events = play(frames([CALM, (2.0, SHUT), (5.0, FINE), (2.0, SHUT), REST]))
    [one] = events
    assert [one.started_s, one.ended_s] == pytest.approx([3.0, 12.0])
    assert [e.ended_s is None for e in changes] == [True, False, True, False]
    assert kinds([CALM, (2.0, SHUT), (5.1, FINE), (2.0, SHUT), REST]) == ["microsleep"] * 2


def test_unresponsive_is_eyes_closed_or_head_away() -> None:
    assert "unresponsive" in kinds([CALM, (2.9, AWAY), (3.2, SHUT), REST])
    assert "unresponsive" not in kinds([CALM, (2.9, AWAY), (2.9, SHUT), REST])


def glances(away_s: float, forward_s: float, times: int) -> Story:
    """Looks away and back."""
    return [CALM, *[(away_s, AWAY), (forward_s, FINE)] * times, REST]


def test_many_short_glances_add_up_within_half_a_minute() -> None:
    assert kinds(glances(2.5, 1.5, 3)) == []
    assert kinds(glances(2.5, 1.5, 4)) == [], "10 s less the last frame"
    assert kinds(glances(2.5, 1.5, 5)) == ["distraction_vats"]
    assert kinds(glances(2.5, 2.0, 8)) == [], "two seconds on the road, and the sum begins anew"
    assert kinds(glances(2.5, 1.9, 8)) == ["distraction_vats"]
    assert kinds(glances(0.6, 1.9, 40)) == [], "never ten seconds within thirty"


def test_a_third_yawn_in_five_minutes() -> None:
    yawn = [(3.0, YAWN), (60.0, FINE)]
    assert kinds([CALM, *yawn * 2]) == ["yawn"] * 2
    assert sorted(kinds([CALM, *yawn * 3])) == ["yawn", "yawn", "yawn", "yawning_repeated"]
    assert kinds([CALM, *[(3.0, YAWN), (200.0, FINE)] * 4]) == ["yawn"] * 4
    _, events = play(frames([CALM, *yawn * 3]))
    repeated = next(e for e in events if e.kind == "yawning_repeated")
    assert (repeated.severity, repeated.peak) == ("medium", {"yawns": 3})


def test_an_object_may_flicker_for_a_fifth_of_the_time() -> None:
    assert kinds([CALM, *[(0.4, PHONE), (0.1, FINE)] * 5, REST]) == ["phone_use"]
    assert kinds([CALM, *[(0.3, PHONE), (0.1, FINE)] * 8, REST]) == []


def blinking(closed_s: float, every_s: float, seconds: float) -> Story:
    """Eyes that close for so long once in so long."""
    return [(every_s - closed_s, FINE), (closed_s, SHUT)] * round(seconds / every_s)


@pytest.mark.parametrize(
    ("closed_s", "expected"),
    [(0.36, []), (0.44, [("drowsy", "medium")]), (0.64, [("drowsy", "high")])],
)
def test_drowsy_is_the_share_of_a_minute_with_closed_eyes(closed_s: float, expected: list[tuple[str, str]]) -> None:
    _, events = play(frames(blinking(closed_s, 4.0, 120), fps=50))
    assert [(e.kind, e.severity) for e in events] == expected


def test_drowsy_wants_a_window_that_is_known_and_ends_below_eight_per_cent() -> None:
    tired = blinking(0.6, 4.0, 40)
    _, events = play(frames(tired, fps=20))
    assert events == [], "40 s are less than 70 % of a minute"
    changes, _ = play(frames([*blinking(0.6, 4.0, 60), (60.0, FINE)], fps=20))
    assert [(e.kind, e.ended_s is None) for e in changes] == [("drowsy", True), ("drowsy", True), ("drowsy", False)]
    assert changes[0].severity == "medium"
    assert changes[-1].ended_s is not None
    ended_s = changes[-1].ended_s
    before = sum(min(0.6, max(0.0, end - (ended_s - 60))) for end in (4.0 * n for n in range(1, 16)))
    assert before / 60 == pytest.approx(0.08, abs=0.002)
    half_blind: list[tuple[float, Signs]] = [part for s in blinking(0.6, 4.0, 120) for part in (s, (2.0, NOBODY))]
    assert "drowsy" not in kinds(half_blind, fps=20), "unknown time is neither open nor closed"


def test_natural_blinks_for_an_hour_are_no_microsleep_and_no_drowsiness() -> None:
    rng = random.Random(4711)
    story: list[tuple[float, Signs]] = []
    total_s = 0.0
    while total_s < 3600:
        open_s, closed_s = rng.uniform(2.6, 3.6), rng.uniform(0.1, 0.3)
        story += [(open_s, FINE), (closed_s, SHUT)]
        total_s += open_s + closed_s
    sent = list(_fast_frames(story, 15))
    assert play(sent)[1] == []


def _fast_frames(story: Story, fps: float) -> Iterable[tuple[float, Signs]]:
    end_s, n = 0.0, 0
    for seconds, signs in story:
        end_s += seconds
        while n / fps < end_s - 1e-9:
            yield n / fps, signs
            n += 1


def test_unknown_time_ends_what_runs_and_begins_nothing() -> None:
    changes, _ = play(frames([CALM, (2.0, SHUT), (5.0, NOBODY), REST]))
    assert [(e.kind, e.ended_s) for e in changes] == [("microsleep", None), ("microsleep", pytest.approx(5.0))]
    assert kinds([CALM, (1.0, SHUT), (0.6, NOBODY), (1.0, SHUT), REST]) == []
    assert kinds([CALM, (1.0, SHUT), (0.4, NOBODY), (1.0, SHUT), REST]) == ["microsleep"]


def test_too_few_frames_say_nothing_and_a_gap_ends_what_runs() -> None:
    assert kinds([CALM, (10.0, SHUT), REST], fps=2) == []
    assert kinds([CALM, (10.0, SHUT), REST], fps=3) == ["sleep", "unresponsive"]
    before, after = frames([CALM, (2.0, SHUT)]), frames([(2.0, SHUT), REST], start_s=3600.0)
    changes, _ = play([*before, *after])
    assert [(e.number, e.ended_s) for e in changes] == [
        (1, None),
        (1, pytest.approx(4.9)),
        (2, None),
        (2, pytest.approx(3602.0)),
    ]


def test_a_blind_camera_leaves_the_driver_unknown() -> None:
    _, events = play(frames([CALM, (2.0, SHUT), (30.0, BLIND), REST]))
    assert [e.kind for e in events] == ["microsleep", "camera_blind"]
    assert events[0].ended_s == pytest.approx(5.0)


WHOLE: Story = [
    REST,
    (2.5, SHUT),
    REST,
    (4.5, SHUT),
    REST,
    (5.0, AWAY),
    REST,
    (4.0, YAWN),
    REST,
    (5.0, PHONE),
    REST,
    (8.0, SMOKE),
    REST,
    (4.0, DRINK),
    REST,
    (15.0, NOBODY),
    REST,
    (15.0, BLIND),
    REST,
]


def named(events: Iterable[Event]) -> list[str]:
    return [event.kind for event in events]


@functools.cache
def truth() -> list[Event]:
    """The whole story as a very fast camera sees it."""
    return play(frames(WHOLE, 100))[1]


DROWSY_S = 0.5
"""A share of a minute adds up what each of its closures is wrong by, up to a frame at either end."""


def with_losses(sent: Iterable[tuple[float, Signs]], seed: int) -> list[tuple[float, Signs]]:
    """Without a fifth of the frames; never so many in a row that over a second is unknown, which is another story."""
    rng = random.Random(seed)
    kept: list[tuple[float, Signs]] = []
    for one in sent:
        if rng.random() >= 0.2 or (kept and one[0] - kept[-1][0] > 0.8):
            kept.append(one)
    return kept


@pytest.mark.parametrize("fps", [5, 8, 15, 30])
@pytest.mark.parametrize("seed", range(5))
def test_the_same_story_has_the_same_events_at_any_rate_with_a_fifth_of_the_frames_missing(fps: int, seed: int) -> None:
    sent = with_losses(frames(WHOLE, fps), seed)
    found = play(sent)[1]
    assert named(found) == named(truth())
    times_s = [at_s for at_s, _ in sent]
    for mine, true in zip(found, truth(), strict=True):
        assert mine.ended_s is not None and true.ended_s is not None
        for got_s, true_s in ((mine.started_s, true.started_s), (mine.ended_s, true.ended_s)):
            first_s = next(at_s for at_s in times_s if at_s >= true_s - 1e-6)  # that can show it
            assert got_s == pytest.approx(first_s, abs=DROWSY_S if mine.kind == "drowsy" else 1e-6)


SIGNS = st.sampled_from([FINE, SHUT, AWAY, YAWN, PHONE, SMOKE, DRINK, NOBODY, BLIND])
STORIES = st.lists(st.tuples(st.sampled_from([0.2, 0.7, 1.6, 2.4, 3.3, 6.5, 11.0]), SIGNS), min_size=1, max_size=12)


def shape(events: Iterable[Event], start_s: float = 0.0) -> list[Any]:
    """What must not depend on when a trip began."""
    return [
        (e.number, e.kind, e.severity, round(e.started_s - start_s, 3), e.ended_s and round(e.ended_s - start_s, 3))
        for e in events
    ]


@settings(deadline=None, max_examples=60)
@given(story=STORIES, start_s=st.sampled_from([0.1, 17.3, 86_400.7]))
def test_when_it_happens_does_not_matter(story: Story, start_s: float) -> None:
    assert shape(play(frames(story, start_s=start_s))[0], start_s) == shape(play(frames(story))[0])


@settings(deadline=None, max_examples=60)
@given(story=STORIES, data=st.data())
def test_duplicates_change_nothing(story: Story, data: st.DataObject) -> None:
    sent = frames(story)
    twice = [one for one in sent for _ in range(data.draw(st.integers(1, 3)))]
    assert play(twice)[0] == play(sent)[0]


@settings(deadline=None, max_examples=60)
@given(story=STORIES, data=st.data())
def test_going_on_from_a_snapshot_is_as_if_nothing_had_been(story: Story, data: st.DataObject) -> None:
    sent = frames(story)
    cut = data.draw(st.integers(0, len(sent)))
    events = Events(PROFILES["default"])
    changes = [event for at_s, signs in sent[:cut] for event in events.step(signs, at_s)]
    kept = json.loads(json.dumps(events.snapshot()))
    events = Events(PROFILES["default"])
    events.restore(kept)
    changes += [event for at_s, signs in sent[cut:] for event in events.step(signs, at_s)]
    assert changes == play(sent)[0]
    assert len(json.dumps(kept)) < 16_000


@settings(deadline=None, max_examples=60)
@given(story=STORIES)
def test_events_end_after_they_begin_and_never_run_twice_at_once(story: Story) -> None:
    changes, events = play(frames([*story, (20.0, FINE)]))
    assert all(e.ended_s is not None and e.ended_s > e.started_s for e in events if e.kind != "drowsy")
    assert all(0.0 <= e.coverage <= 1.0 for e in changes)


@pytest.mark.parametrize(
    ("profile", "away_s", "expected"),
    [
        ("default", 3.2, ["distraction_long"]),
        ("addw", 3.2, []),
        ("addw", 3.7, ["distraction_long"]),
        ("guardian", 3.7, []),
        ("guardian", 4.2, ["distraction_long"]),
        ("openpilot", 3.2, ["distraction_long"]),
        ("legacy", 60.0, []),
    ],
)
def test_profiles_differ_in_their_numbers(profile: ProfileName, away_s: float, expected: list[str]) -> None:
    assert kinds([CALM, (away_s, AWAY), REST], profile) == expected
