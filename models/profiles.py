"""The numbers of the policy; every one with the place it comes from (docs: domain.md of the project's owners)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ProfileName = Literal["legacy"]


@dataclass(frozen=True, slots=True)
class Profile:
    """When a per-frame condition holds, and from when on it counts.

    Args:
        name: As in `POLICY_PROFILE`.
        version: Changes with every number.
        min_duration_s: A condition is recorded once it has lasted this long.
        yaw_away_deg: The head is away beyond this, either side.
        pitch_away_deg: The head is away beyond this, up or down.
        face_lost_s: So long without a face ends every condition.
        gap_s: A longer gap between two frames is unknown time and ends every condition.
    """

    name: ProfileName
    version: int
    min_duration_s: float
    yaw_away_deg: float
    pitch_away_deg: float
    face_lost_s: float
    gap_s: float


PROFILES: dict[ProfileName, Profile] = {
    "legacy": Profile(
        name="legacy",
        version=1,
        min_duration_s=1.0,  # original system: each for >= 1 s before its duration is recorded
        yaw_away_deg=25.0,  # openpilot selfdrive/monitoring 23 deg, rounded up; the original's limit was no degree
        pitch_away_deg=20.0,  # openpilot selfdrive/monitoring 17.9 deg down, rounded up
        face_lost_s=0.5,  # a single frame without a face ends nothing, half a second does
        gap_s=1.0,  # rule for all events: a gap over 1 s between frames is unknown
    ),
}
"""EAR and MAR limits are not here: they belong to the face models that measure them, see `models.packs`."""
