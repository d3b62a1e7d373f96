"""Stories of drivers, frame by frame at a fixed dt: what is up at second t."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from models.packs import PACKS
from models.policy import FrameMetrics, Policy
from models.profiles import PROFILES
from models.types import Observation, PackName
from tests.builders import AWAY, CLOSED, OPEN_MOUTH, observation

ATTENTIVE = observation()
NO_FACE = observation(face=None)


def drive(policy: Policy, *moments: tuple[float, Observation]) -> list[FrameMetrics]:
    return [policy.step(said, at_s) for at_s, said in moments]


def during(start_s: float, end_s: float, said: Observation, *, fps: int = 10) -> Iterable[tuple[float, Observation]]:
    """The frames from `start_s` to `end_s` inclusive."""
    return [(tick / fps, said) for tick in range(round(start_s * fps), round(end_s * fps) + 1)]


def legacy() -> Policy:
    return Policy(PROFILES["legacy"])


def test_an_attentive_driver_is_never_flagged() -> None:
    policy = legacy()
    metrics = drive(policy, *during(0, 30, ATTENTIVE))
    assert not any(frame.flagged for frame in metrics)
    assert (metrics[-1].ear, metrics[-1].mar) == (0.34, 0.4)
    assert policy.state == "attentive"


@pytest.mark.parametrize(
    ("said", "text", "state"),
    [
        (observation(**CLOSED), "sleeping", "eyes closed"),
        (observation(**OPEN_MOUTH), "yawning", "mouth open"),
        (observation(**AWAY), "not focus", "head away"),
    ],
)
def test_a_condition_counts_from_one_second_on(said: Observation, text: str, state: str) -> None:
    policy = legacy()
    early = drive(policy, *during(0, 0.9, said))
    assert not any(frame.flagged for frame in early)
    assert policy.state == state, "the state shows it at once"

    at_one, *_, at_three = drive(policy, *during(1, 3, said))

    assert at_one.conditions == (text,)
    assert sum((at_one.sleep_duration_s, at_one.yawning_duration_s, at_one.focus_duration_s)) == pytest.approx(1.0)
    assert sum((at_three.sleep_duration_s, at_three.yawning_duration_s, at_three.focus_duration_s)) == pytest.approx(3)


def test_one_second_is_one_second_whenever_it_begins() -> None:
    late = []
    for start in range(100):
        metrics = drive(legacy(), *during(start / 10, start / 10 + 1, observation(**CLOSED)))
        assert not metrics[-2].flagged
        if not metrics[-1].flagged:
            late.append(start / 10)
    assert not late, "closed at these seconds and not recorded one second later"


def test_a_condition_ends_with_the_first_frame_that_shows_its_end() -> None:
    policy = legacy()
    drive(policy, *during(0, 2, observation(**CLOSED)))
    assert not policy.step(ATTENTIVE, 2.1).flagged
    assert policy.state == "attentive"
    again = drive(policy, *during(2.2, 3.1, observation(**CLOSED)))
    assert not any(frame.flagged for frame in again), "its time begins anew"


def test_all_conditions_at_once() -> None:
    policy = legacy()
    metrics = drive(policy, *during(0, 1, observation("phone", **CLOSED, **OPEN_MOUTH, **AWAY)))
    assert metrics[-1].conditions == ("sleeping", "yawning", "not focus")
    assert policy.state == "eyes closed, mouth open, head away"


@pytest.mark.parametrize(
    ("pose", "away"),
    [
        ({"yaw_deg": 25.0}, False),
        ({"yaw_deg": 25.1}, True),
        ({"yaw_deg": -25.1}, True),
        ({"pitch_deg": 20.0}, False),
        ({"pitch_deg": 20.1}, True),
        ({"pitch_deg": -20.1}, True),
        ({"roll_deg": 60.0}, False),
    ],
)
def test_the_head_is_away_beyond_its_limits_either_side(pose: dict[str, float], *, away: bool) -> None:
    assert drive(legacy(), *during(0, 1, observation(**pose)))[-1].flagged is away


@pytest.mark.parametrize(("pack", "limit"), [("landmarker-478", 0.13), ("mesh-468-iris", 0.20)])
def test_each_pack_has_its_own_closed_eyes(pack: PackName, limit: float) -> None:
    assert PACKS[pack].ear_closed_below == limit
    at_limit = drive(legacy(), *during(0, 1, observation(ear=limit, pack=pack)))
    below = drive(legacy(), *during(0, 1, observation(ear=limit - 0.001, pack=pack)))
    assert not at_limit[-1].flagged
    assert below[-1].conditions == ("sleeping",)


@pytest.mark.parametrize("pack", list(PACKS))
def test_a_mouth_at_its_limit_is_not_open(pack: PackName) -> None:
    assert not drive(legacy(), *during(0, 1, observation(mar=1.0, pack=pack)))[-1].flagged
    assert drive(legacy(), *during(0, 1, observation(mar=1.001, pack=pack)))[-1].flagged


def test_objects_flag_at_once_alphabetically_and_each_once() -> None:
    metrics = legacy().step(observation("vape", "phone", "phone", "bottle"), 0.0)
    assert metrics.labels == ("bottle", "phone", "vape")
    assert metrics.flagged
    assert metrics.conditions == ()


def test_an_object_needs_no_face() -> None:
    metrics = legacy().step(observation("cigarette", face=None), 0.0)
    assert metrics.flagged
    assert (metrics.ear, metrics.mar) == (0.0, 0.0)


def test_a_single_frame_without_a_face_ends_nothing() -> None:
    policy = legacy()
    drive(policy, *during(0, 1.4, observation(**CLOSED)))
    without = policy.step(NO_FACE, 1.5)
    assert without.conditions == ("sleeping",)
    assert without.sleep_duration_s == pytest.approx(1.5)
    assert (without.ear, without.mar) == (0.0, 0.0)
    assert policy.state == "no face"
    assert policy.step(observation(**CLOSED), 1.6).sleep_duration_s == pytest.approx(1.6)


@pytest.mark.parametrize("fps", [2, 4, 10])
def test_a_single_frame_without_a_face_ends_nothing_at_any_rate(fps: int) -> None:
    policy = legacy()
    drive(policy, *during(0, 2, observation(**CLOSED), fps=fps))
    assert policy.step(NO_FACE, 2 + 1 / fps).conditions == ("sleeping",)
    late_s = 2 + 1 / fps + max(1 / fps, 0.45)  # the network held the next one up
    assert policy.step(observation(**CLOSED), late_s).sleep_duration_s == pytest.approx(late_s)


def test_four_tenths_without_a_face_end_nothing() -> None:
    policy = legacy()
    drive(policy, *during(0, 2, observation(**CLOSED)), *during(2.1, 2.4, NO_FACE))
    assert policy.step(observation(**CLOSED), 2.4).sleep_duration_s == pytest.approx(2.4)


def test_half_a_second_without_a_face_ends_every_condition() -> None:
    policy = legacy()
    drive(policy, *during(0, 2, observation(**CLOSED, **AWAY)), *during(2.1, 2.4, NO_FACE))
    assert not policy.step(NO_FACE, 2.5).flagged
    back = drive(policy, *during(2.6, 3.6, observation(**CLOSED)))
    assert [frame.flagged for frame in back] == [False] * 10 + [True]


def test_a_face_that_comes_back_after_half_a_second_begins_anew() -> None:
    policy = legacy()
    drive(policy, *during(0, 2, observation(**CLOSED)), *during(2.1, 2.4, NO_FACE))
    assert not policy.step(observation(**CLOSED), 2.5).flagged


def test_a_gap_of_one_second_ends_nothing_and_a_longer_one_everything() -> None:
    policy, all_three = legacy(), observation(**CLOSED, **OPEN_MOUTH, **AWAY)
    drive(policy, *during(0, 2, all_three))
    kept = policy.step(all_three, 3.0)
    assert (kept.sleep_duration_s, kept.yawning_duration_s, kept.focus_duration_s) == pytest.approx((3.0, 3.0, 3.0))
    assert not policy.step(all_three, 4.1).flagged, "a gap of 1.1 s is unknown time"
    assert policy.state == "eyes closed, mouth open, head away", "what the last frame showed"
    again = policy.step(all_three, 5.1)
    assert (again.sleep_duration_s, again.yawning_duration_s, again.focus_duration_s) == pytest.approx((1.0, 1.0, 1.0))


def test_uneven_frame_times_are_measured_not_counted() -> None:
    closed = observation(**CLOSED)
    metrics = drive(
        legacy(), (0.0, ATTENTIVE), (0.07, closed), (0.9, closed), (0.95, closed), (1.06, closed), (1.08, closed)
    )
    assert [frame.flagged for frame in metrics] == [False, False, False, False, False, True]
    assert metrics[-1].sleep_duration_s == pytest.approx(1.01)


def test_the_rate_of_frames_does_not_matter() -> None:
    for fps in (2, 5, 15, 30):
        metrics = drive(legacy(), *during(0, 4, observation(**CLOSED), fps=fps))
        assert [frame.flagged for frame in metrics] == [tick >= fps for tick in range(4 * fps + 1)]


def test_vehicles_do_not_share() -> None:
    asleep, awake = legacy(), legacy()
    for (at_s, closed), (_, attentive) in zip(
        during(0, 3, observation(**CLOSED)), during(0, 3, ATTENTIVE), strict=True
    ):
        slept, drove = asleep.step(closed, at_s), awake.step(attentive, at_s)
    assert slept.conditions == ("sleeping",)
    assert not drove.flagged
    assert (asleep.state, awake.state) == ("eyes closed", "attentive")


def test_before_the_first_face_there_is_none() -> None:
    policy = legacy()
    assert policy.state == "no face"
    assert not policy.step(NO_FACE, 0.0).flagged
    assert policy.state == "no face"
    policy.step(ATTENTIVE, 0.1)
    assert policy.state == "attentive"


def test_eyes_that_are_unknown_for_a_moment_did_not_open() -> None:
    policy = Policy(PROFILES["default"])
    drive(policy, *during(0, 2, observation(**CLOSED)))
    aside = observation(yaw_deg=51.0, **CLOSED)
    assert all(
        frame.sleep_duration_s for frame in drive(policy, *during(2.1, 2.4, aside), (2.45, observation(**CLOSED)))
    )
    assert not drive(policy, *during(2.5, 3.1, aside))[-1].sleep_duration_s, "for half a second"


def test_a_face_of_a_few_pixels_is_no_usable_face() -> None:
    tiny = observation(xyxy=(100.0, 50.0, 124.9, 80.0), **CLOSED)
    policy, legacy_policy = Policy(PROFILES["default"]), legacy()
    metrics = drive(policy, *during(0, 10, tiny))
    assert [event.kind for frame in metrics for event in frame.events] == ["no_face"]
    assert policy.state == "no face"
    assert metrics[-1].ear == CLOSED["ear"], "what was measured is kept"
    assert drive(legacy_policy, *during(0, 10, tiny))[-1].conditions == ("sleeping",)


def test_a_trip_that_goes_on_under_other_rules_calibrates_anew_and_keeps_its_events() -> None:
    before, after = legacy(), Policy(PROFILES["default"])
    drive(before, *during(0, 30, observation(yaw_deg=28.0)))
    after.restore(before.snapshot())
    assert after.state != "attentive"
    metrics = drive(after, *during(30.1, 60, observation(yaw_deg=28.0)))
    assert not any(frame.events for frame in metrics)
    again = Policy(PROFILES["default"])
    again.restore(after.snapshot())
    assert again.snapshot() == after.snapshot()
