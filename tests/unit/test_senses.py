"""What a face shows, before and after its driver's neutral pose and eye opening are known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.profiles import PROFILES, ProfileName
from models.senses import Senses
from models.types import PackName
from tests.builders import face


def senses(profile: ProfileName = "default", seconds: int = 60, **changes: Any) -> Senses:
    """Of a driver who has looked like this for so long, at 10 frames a second."""
    found = Senses(PROFILES[profile])
    for tick in range(seconds * 10 - 9):
        found.read(face(**changes), tick / 10)
    return found


def test_the_neutral_pose_is_that_of_the_first_minute_with_a_face() -> None:
    before, after = senses(seconds=5, yaw_deg=28.0, pitch_deg=-15.0), senses(yaw_deg=28.0, pitch_deg=-15.0)
    assert before.calibrating and senses(seconds=59).calibrating
    assert not before.read(face(yaw_deg=28.0, pitch_deg=-15.0), 5).head_away, "until then, that of the faces so far"
    assert not before.read(face(yaw_deg=-2.9), 6).head_away, "until then, straight at the camera is ahead as well"
    assert before.read(face(yaw_deg=-25.1), 6).head_away
    assert not after.calibrating
    assert not after.read(face(yaw_deg=28.0, pitch_deg=-15.0), 61).head_away
    assert after.read(face(yaw_deg=0.0, pitch_deg=-15.0), 61).head_away
    assert not after.read(face(yaw_deg=52.9, pitch_deg=-15.0), 61).head_away
    assert after.read(face(yaw_deg=28.0, pitch_deg=5.1), 61).head_away


def test_a_driver_who_looked_elsewhere_all_the_time_is_not_taken_at_his_word() -> None:
    assert senses(yaw_deg=80.0).read(face(yaw_deg=80.0), 61).head_away
    assert not senses(yaw_deg=80.0).read(face(yaw_deg=10.0), 61).head_away


@pytest.mark.parametrize(
    ("ear", "pack", "limit"),
    [
        (0.34, "landmarker-478", 0.13),
        (0.272, "landmarker-478", 0.104),
        (0.408, "landmarker-478", 0.156),
        (0.9, "landmarker-478", 0.169),  # not beyond what eyes differ by
        (0.15, "landmarker-478", 0.091),
        (0.05, "landmarker-478", 0.13),  # eyes shut for a minute say nothing of open ones
        (0.36, "mesh-468-iris", 0.20),
    ],
)
def test_closed_is_measured_by_the_drivers_own_open_eyes(ear: float, pack: PackName, limit: float) -> None:
    found = senses(ear=ear, pack=pack)
    assert not found.read(face(ear=1.0, pack=pack), 60).eyes_closed
    assert not found.read(face(ear=limit + 0.001, pack=pack), 61).eyes_closed
    assert found.read(face(ear=limit - 0.001, pack=pack), 62).eyes_closed


def test_eyes_that_closed_open_a_little_above_where_they_closed() -> None:
    found = Senses(PROFILES["default"])
    said = [found.read(face(ear=ear), n).eyes_closed for n, ear in enumerate([0.14, 0.12, 0.14, 0.149, 0.15, 0.14])]
    assert said == [False, True, True, True, False, False]
    fixed = Senses(PROFILES["legacy"])
    assert [fixed.read(face(ear=ear), n).eyes_closed for n, ear in enumerate([0.12, 0.13])] == [True, False]


def test_lids_and_jaw_decide_where_they_are_measured() -> None:
    found, fixed = Senses(PROFILES["default"]), Senses(PROFILES["legacy"])
    blinks = [0.5, 0.51, 0.44, 0.43, 0.5]
    said = [found.read(face(ear=0.05, eye_blink=blink), n).eyes_closed for n, blink in enumerate(blinks)]
    assert said == [False, True, True, False, False]
    assert [found.read(face(mar=1.5, jaw_open=jaw), 9).mouth_open for jaw in (0.25, 0.26)] == [False, True]
    assert not fixed.read(face(eye_blink=0.9, jaw_open=0.9), 0).eyes_closed, "by EAR and MAR as ever"
    assert not fixed.read(face(eye_blink=0.9, jaw_open=0.9), 0).mouth_open
    assert found.read(face(ear=0.05, mar=1.5), 10).eyes_closed, "a pack without blendshapes"
    assert found.read(face(ear=0.05, mar=1.5), 10).mouth_open


def test_a_yawn_whose_jaw_falls_for_a_frame_goes_on_and_a_wide_mouth_is_no_yawn() -> None:
    found = Senses(PROFILES["default"])
    moments = [(0.0, 0.2, 1.5), (0.1, 0.3, 0.9), (0.2, 0.1, 1.5), (0.5, 0.1, 1.1), (0.6, 0.1, 1.1), (0.7, 0.1, 1.1)]
    said = [found.read(face(jaw_open=jaw, mar=mar), at_s).mouth_open for at_s, jaw, mar in moments]
    assert said == [False, True, True, True, False, False], "opened by the jaw, bridged by MAR for half a second"
    found.read(face(jaw_open=0.9), 1.0)
    assert not found.read(face(jaw_open=0.1, mar=0.9), 1.1).mouth_open
    assert not found.read(face(jaw_open=0.1, mar=1.5), 1.2).mouth_open


def test_what_was_before_a_long_gap_bridges_nothing() -> None:
    found = Senses(PROFILES["default"])
    found.read(face(eye_blink=0.9, jaw_open=0.9, mar=1.5), 0)
    after = found.read(face(eye_blink=0.46, jaw_open=0.0, mar=1.5), 1.1)
    assert not after.eyes_closed and not after.mouth_open


def test_who_looks_elsewhere_while_calibrating_is_away_and_it_does_not_become_neutral() -> None:
    found = Senses(PROFILES["default"])
    said = [found.read(face(yaw_deg=0.0 if tick < 10 else 45.0), tick / 10).head_away for tick in range(210)]
    assert said == [False] * 10 + [True] * 200
    assert not any(found.read(face(), 21 + tick / 10).head_away for tick in range(300))


def test_a_trip_that_begins_with_a_look_elsewhere_has_no_distraction_after_it() -> None:
    found = Senses(PROFILES["default"])
    said = [found.read(face(yaw_deg=-60.0 if tick < 60 else 0.0), tick / 10).head_away for tick in range(700)]
    assert said == [True] * 60 + [False] * 640
    assert not found.calibrating
    assert found.read(face(yaw_deg=-26.0), 71).head_away


def test_eyes_seen_from_the_side_are_unknown() -> None:
    found = Senses(PROFILES["default"])
    assert found.read(face(yaw_deg=50.0, ear=0.05), 0).eyes_closed
    assert found.read(face(yaw_deg=-50.1, ear=0.05), 1).eyes_closed is None
    assert Senses(PROFILES["legacy"]).read(face(yaw_deg=-80.0, ear=0.05), 1).eyes_closed


def test_the_original_profile_is_the_same_for_everybody() -> None:
    found = senses("legacy", yaw_deg=28.0, ear=0.2)
    assert not found.calibrating
    assert found.read(face(yaw_deg=28.0), 61).head_away
    assert not found.read(face(ear=0.131), 61).eyes_closed


@pytest.mark.parametrize("seconds", [30, 60])
def test_going_on_from_a_snapshot_is_as_if_nothing_had_been(seconds: int) -> None:
    whole = senses(seconds=seconds, ear=0.25, yaw_deg=10.0, eye_blink=0.6, jaw_open=0.9)
    again = Senses(PROFILES["default"])
    again.restore(json.loads(json.dumps(whole.snapshot())))
    for tick in range(seconds * 10, seconds * 10 + 400):
        one = face(ear=0.09 + tick % 7 / 100, yaw_deg=tick % 90)
        if seconds == 60:
            one = face(
                yaw_deg=tick % 90, eye_blink=0.4 + tick % 9 / 50, jaw_open=tick % 7 / 20, mar=0.8 + tick % 5 / 10
            )
        assert again.read(one, tick / 10) == whole.read(one, tick / 10)
    assert again.calibrating == whole.calibrating


def test_limits_are_those_that_are_compared_with() -> None:
    found = senses(yaw_deg=10.0, pitch_deg=-5.0, ear=0.272)
    limits = found.limits(face())
    assert limits.yaw_deg == (-15.0, 35.0)
    assert limits.pitch_deg == (-25.0, 15.0)
    assert limits.ear_closed == pytest.approx(0.104)
    assert (limits.blink_closed, limits.jaw_open, limits.mar_open) == (None, None, 1.0)
    shares = found.limits(face(eye_blink=0.1, jaw_open=0.1))
    assert limits.ear_closed == shares.ear_closed
    assert shares.blink_closed == PROFILES["default"].blink_closed
    assert shares.jaw_open == PROFILES["default"].jaw_yawning


def test_a_profile_without_shares_has_no_limits_of_them() -> None:
    limits = senses("legacy", 1).limits(face(eye_blink=0.1, jaw_open=0.1))
    assert (limits.blink_closed, limits.jaw_open) == (None, None)
