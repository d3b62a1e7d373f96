"""The numbers of the profiles against the text that they are taken from, and as a table."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path
from typing import get_args

import pytest

from models import profiles
from models.profiles import PROFILES, Limit, ProfileName

NUMBER = r"([\d.]+)"
IN_DOMAIN = {
    "min_duration_s": f"each for >= {NUMBER} s before its duration is recorded",
    "yaw_away_deg": rf"yaw beyond \+-{NUMBER}",
    "pitch_away_deg": rf"pitch beyond \+-{NUMBER}",
    "eyes_unknown_yaw_deg": rf"strong side views \(> ~{NUMBER} deg\)",
    "calibration_s": f"over the first {NUMBER} s of the trip with a face",
    "face_lost_s": f"{NUMBER} s without one does",
    "gap_s": f"a gap over {NUMBER} s between frames",
    "blink_closed": f"face-mesh blendshape eyeBlink > {NUMBER}",
    "microsleep_s": rf"`microsleep` \| eyes closed >= {NUMBER} s",
    "microsleep_end_s": rf"`microsleep` \|[^|]*\| open >= {NUMBER} s",
    "sleep_s": rf"`sleep` \| eyes closed >= {NUMBER} s",
    "sleep_end_s": rf"`sleep` \|[^|]*\| open >= {NUMBER} s",
    "unresponsive_s": rf"`unresponsive` \| eyes closed or head away >= {NUMBER} s",
    "unresponsive_end_s": rf"`unresponsive` \|[^|]*\| open and forward >= {NUMBER} s",
    "perclos_window_s": f"PERCLOS over {NUMBER} s",
    "perclos_medium": f"PERCLOS over 60 s >= {NUMBER} %",
    "perclos_high": rf"or >= {NUMBER} % \(high\)",
    "perclos_end": rf"`drowsy` \|[^|]*\| < {NUMBER} %",
    "perclos_coverage": f"coverage >= {NUMBER} %",
    "yawn_s": f"mouth wide open >= {NUMBER} s",
    "yawn_end_s": f"mouth shut {NUMBER} s",
    "yawns": rf"mouth wide open >= 2 s; {NUMBER} of them",
    "yawns_window_s": f"3 of them in {NUMBER} min",
    "distraction_s": rf"`distraction_long` \| head away >= {NUMBER} s",
    "distraction_end_s": rf"`distraction_long` \|[^|]*\| forward >= {NUMBER} s",
    "vats_sum_s": f"{NUMBER} s away in total",
    "vats_window_s": f"away in total within {NUMBER} s",
    "vats_reset_s": f"the sum resets after {NUMBER} s forward",
    "object_share": f"phone in >= {NUMBER} % of the frames",
    "phone_window_s": f"of the frames of a window >= {NUMBER} s",
    "phone_end_s": rf"`phone_use` \|[^|]*\| absent {NUMBER} s",
    "smoking_window_s": f"seen in >= 80 % of {NUMBER} s",
    "smoking_end_s": rf"`smoking`[^|]*\|[^|]*\| absent {NUMBER} s",
    "drinking_window_s": f"seen in >= 80 % of {NUMBER} s",
    "drinking_end_s": rf"`drinking`[^|]*\|[^|]*\| absent {NUMBER} s",
    "no_face_s": f"no usable face for {NUMBER} s",
    "no_face_end_s": f"face back for {NUMBER} s",
    "blind_s": f"black, white, frozen or blurred picture for {NUMBER} s",
    "blind_end_s": rf"`camera_blind` \|[^|]*\| {NUMBER} s fine",
    "same_event_s": f"same kind within {NUMBER} s of its end",
}
"""Where domain.md says each number of the profile `default`; its own are not in it."""
OWN = {"smallest_face_px", "jaw_yawning", "reopen_ratio"}
SCALE = {"perclos_medium": 100, "perclos_high": 100, "perclos_end": 100, "perclos_coverage": 100, "object_share": 100}
ELSEWHERE = {
    ("addw", "distraction_s"): f"{NUMBER} s above 50 km/h",
    ("guardian", "distraction_s"): f"microsleep 1.5 s, distraction {NUMBER} s",
    ("openpilot", "yaw_away_deg"): f"yaw {NUMBER} deg",
    ("openpilot", "pitch_away_deg"): f"pitch {NUMBER} deg",
    ("openpilot", "distraction_s"): f"alerts at {NUMBER} / 5 / 11 s",
    ("openpilot", "unresponsive_s"): f"alerts at 3 / 5 / {NUMBER} s",
}


@pytest.fixture(scope="module")
def domain(shared: Path) -> str:
    """The rules, as the project's owners wrote them."""
    return (shared / "domain.md").read_text()


@pytest.mark.parametrize("name", [name for name in PROFILES["default"].limits if name not in OWN])
def test_the_default_is_what_the_rules_say(name: str, domain: str) -> None:
    found = re.search(IN_DOMAIN[name], domain)
    assert found, f"{IN_DOMAIN[name]} is not in domain.md"
    says = float(found[1].rstrip(".")) / SCALE.get(name, 1) * (60 if name == "yawns_window_s" else 1)
    assert PROFILES["default"].limits[name] == pytest.approx(says)


@pytest.mark.parametrize(("profile", "name"), list(ELSEWHERE))
def test_other_profiles_are_what_their_sources_say(profile: ProfileName, name: str, domain: str) -> None:
    found = re.search(ELSEWHERE[profile, name], domain)
    assert found
    assert PROFILES[profile].limits[name] == pytest.approx(float(found[1]))


def test_every_profile_of_the_domain_is_there_and_every_number_has_a_source(domain: str) -> None:
    listed = re.search(r"Profiles to ship: ([^.]*)\.", domain)
    assert listed
    assert set(re.findall(r"`(\w+)`", listed[1])) == set(PROFILES) == set(get_args(ProfileName))
    for name, profile in PROFILES.items():
        assert profile.name == name
        assert all(limit.source for limit in profile.limits.values())


def test_the_table_names_every_profile_number_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    profiles.main()
    table = capsys.readouterr().out
    for name, limit in PROFILES["default"].limits.items():
        assert re.search(rf"^  {name} +{limit:g}  {re.escape(limit.source)}$", table, re.MULTILINE)
    assert all(f"\n{name} (version " in table for name in PROFILES)
    assert re.search(r"^  distraction_s +4  Seeing Machines Guardian", table, re.MULTILINE)
    assert re.search(r"^  vats_sum_s +none", table, re.MULTILINE)


@pytest.mark.parametrize("carry", [copy.copy, lambda limit: pickle.loads(pickle.dumps(limit))])  # noqa: S301 - our own
def test_a_limit_travels_with_its_source(carry: object) -> None:
    assert callable(carry)
    limit = carry(Limit(1.5, "somewhere"))
    assert (limit, limit.source) == (1.5, "somewhere")
