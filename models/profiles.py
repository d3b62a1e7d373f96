"""The numbers of the policy, each with the place it comes from. `python -m models.profiles` prints them as a table."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Literal, Self, get_args

from models.types import EventKind

ProfileName = Literal["default", "legacy", "euroncap", "addw", "guardian", "openpilot"]


class Limit(float):
    """A number with its source.

    Attributes:
        source: Where it comes from.
    """

    source: str

    def __new__(cls, value: float, source: str) -> Self:
        """A number that is used like any other."""
        made = super().__new__(cls, value)
        made.source = source
        return made

    def __getnewargs__(self) -> tuple[float, str]:  # type: ignore[override]  # float's own has no source
        """For pickle and copies."""
        return float(self), self.source


@dataclass(frozen=True, slots=True)
class Profile:
    """When a condition holds, when it counts, and when it becomes an event. Infinite: there is no such limit.

    Args:
        name: As in `POLICY_PROFILE`.
        version: Changes with every number.
        min_duration_s: A per-frame condition is recorded once it has lasted this long.
        yaw_away_deg: The head is away beyond this, either side of the driver's neutral pose.
        pitch_away_deg: The head is away beyond this, up or down from it.
        eyes_unknown_yaw_deg: Beyond this the eyes are not judged.
        smallest_face_px: A narrower face is no usable one.
        calibration_s: Seconds with a face over which the driver's neutral pose and eye opening are taken; 0: none, the
            camera is straight ahead and the eyes are anybody's.
        blink_closed: Eyes are closed above this `Face.eye_blink`. Without limit, or a face without it: by EAR.
        jaw_yawning: The mouth is wide open above this `Face.jaw_open`. Without limit, or a face without it: by MAR.
        reopen_ratio: By EAR, closed eyes are open again above so many times the limit below which they closed; by
            `eye_blink`, at or below the limit divided by it.
        face_lost_s: So long without a face ends every per-frame condition; a shorter time interrupts nothing.
        gap_s: A longer time between two frames is unknown.
        microsleep_s: Eyes closed for so long: `microsleep`.
        microsleep_end_s: It ends when they have been open for so long.
        sleep_s: Eyes closed for so long: the microsleep is a `sleep`.
        sleep_end_s: It ends when they have been open for so long.
        unresponsive_s: Eyes closed or head away for so long: `unresponsive`.
        unresponsive_end_s: It ends when they have been open and the head forward for so long.
        perclos_window_s: The share of closed eyes is taken over so long.
        perclos_medium: A share of so much: `drowsy`, medium.
        perclos_high: A share of so much: high.
        perclos_end: It ends below this share.
        perclos_coverage: So much of the window must be known.
        yawn_s: Mouth wide open for so long: `yawn`.
        yawn_end_s: It ends when the mouth has been shut for so long.
        yawns: So many of them: `yawning_repeated`.
        yawns_window_s: Within so long.
        distraction_s: Head away for so long: `distraction_long`.
        distraction_end_s: It ends when the head has been forward for so long.
        vats_sum_s: Head away for so long in total: `distraction_vats`.
        vats_window_s: Within so long.
        vats_reset_s: The sum begins anew, and the event ends, when the head has been forward for so long.
        object_share: An object in so much of a window.
        phone_window_s: Phone: `phone_use`.
        phone_end_s: It ends when none has been seen for so long.
        smoking_window_s: Cigarette, smoke or vape: `smoking`.
        smoking_end_s: It ends when none has been seen for so long.
        drinking_window_s: Bottle or cup: `drinking`.
        drinking_end_s: It ends when none has been seen for so long.
        no_face_s: No usable face for so long: `no_face`.
        no_face_end_s: It ends when one has been back for so long.
        blind_s: No usable picture for so long: `camera_blind`.
        blind_end_s: It ends when pictures have been fine for so long.
        same_event_s: The same kind within so long after its end is the same event.
    """

    name: ProfileName
    version: int
    min_duration_s: Limit
    yaw_away_deg: Limit
    pitch_away_deg: Limit
    eyes_unknown_yaw_deg: Limit
    smallest_face_px: Limit
    calibration_s: Limit
    blink_closed: Limit
    jaw_yawning: Limit
    reopen_ratio: Limit
    face_lost_s: Limit
    gap_s: Limit
    microsleep_s: Limit
    microsleep_end_s: Limit
    sleep_s: Limit
    sleep_end_s: Limit
    unresponsive_s: Limit
    unresponsive_end_s: Limit
    perclos_window_s: Limit
    perclos_medium: Limit
    perclos_high: Limit
    perclos_end: Limit
    perclos_coverage: Limit
    yawn_s: Limit
    yawn_end_s: Limit
    yawns: Limit
    yawns_window_s: Limit
    distraction_s: Limit
    distraction_end_s: Limit
    vats_sum_s: Limit
    vats_window_s: Limit
    vats_reset_s: Limit
    object_share: Limit
    phone_window_s: Limit
    phone_end_s: Limit
    smoking_window_s: Limit
    smoking_end_s: Limit
    drinking_window_s: Limit
    drinking_end_s: Limit
    no_face_s: Limit
    no_face_end_s: Limit
    blind_s: Limit
    blind_end_s: Limit
    same_event_s: Limit

    @property
    def limits(self) -> dict[str, Limit]:
        """Every number by its name."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in named.items() if isinstance(value, Limit)}


_PROJECT = "domain.md, events of profile default"
_RULES = "domain.md, rules for all events"
_METRICS = "domain.md, per-frame metrics"
_NCAP = "Euro NCAP Safe Driving v10.4 (secondary texts)"
_ADDW = "EU ADDW, (EU) 2023/2590"
_GUARDIAN = "Seeing Machines Guardian event classifications"
_OPENPILOT = "openpilot selfdrive/monitoring"

_DEFAULT = Profile(
    name="default",
    version=2,
    min_duration_s=Limit(1.0, f"{_METRICS}: each for >= 1 s before its duration is recorded"),
    yaw_away_deg=Limit(25.0, f"{_METRICS}: yaw beyond +-25, from the driver's own neutral pose"),
    pitch_away_deg=Limit(20.0, f"{_METRICS}: pitch beyond +-20, from the driver's own neutral pose"),
    eyes_unknown_yaw_deg=Limit(50.0, "domain.md, what a camera cannot say: strong side views (> ~50 deg)"),
    smallest_face_px=Limit(25.0, "measured, docs/adr/0022: below it open eyes are taken for closed"),
    calibration_s=Limit(60.0, f"{_OPENPILOT}: 60 s calibration"),
    blink_closed=Limit(0.5, "domain.md, why fixed thresholds are not enough: blendshape eyeBlink > 0.5"),
    jaw_yawning=Limit(0.25, "measured, docs/adr/0022: 30 of 31 yawns, none of 45 other faces"),
    reopen_ratio=Limit(1.15, f"{_OPENPILOT} has hysteresis 0.37/0.63 on its filtered signal; a step of 15 % on ours"),
    face_lost_s=Limit(0.5, f"{_METRICS}: 0.5 s without a face ends a condition"),
    gap_s=Limit(1.0, f"{_RULES}: a gap over 1 s between frames is unknown"),
    microsleep_s=Limit(1.5, f"{_GUARDIAN}: microsleep 1.5 s"),
    microsleep_end_s=Limit(0.5, f"{_PROJECT}: open >= 0.5 s"),
    sleep_s=Limit(3.0, f"{_NCAP}: microsleep < 3 s, sleep > 3 s"),
    sleep_end_s=Limit(1.0, f"{_PROJECT}: open >= 1 s"),
    unresponsive_s=Limit(6.0, f"{_NCAP}: unresponsive 6 s"),
    unresponsive_end_s=Limit(2.0, f"{_PROJECT}: open and forward >= 2 s"),
    perclos_window_s=Limit(60.0, "Wierwille 1994, FHWA Tech Brief: share of a minute"),
    perclos_medium=Limit(0.10, "jov 2141193: 10 % level"),
    perclos_high=Limit(0.15, f"{_PROJECT}: >= 15 % (high)"),
    perclos_end=Limit(0.08, f"{_PROJECT}: < 8 %"),
    perclos_coverage=Limit(0.70, f"{_PROJECT}: coverage >= 70 %"),
    yawn_s=Limit(2.0, f"{_PROJECT}: mouth wide open >= 2 s"),
    yawn_end_s=Limit(1.0, f"{_PROJECT}: mouth shut 1 s"),
    yawns=Limit(3.0, f"{_PROJECT}: 3 of them in 5 min"),
    yawns_window_s=Limit(300.0, f"{_PROJECT}: 3 of them in 5 min"),
    distraction_s=Limit(3.0, f"{_NCAP}: long distraction >= 3 s"),
    distraction_end_s=Limit(2.0, f"{_PROJECT}: forward >= 2 s"),
    vats_sum_s=Limit(10.0, f"{_NCAP}: VATS 10 s in 30 s"),
    vats_window_s=Limit(30.0, f"{_NCAP}: VATS 10 s in 30 s"),
    vats_reset_s=Limit(2.0, f"{_NCAP}: reset after 2 s forward"),
    object_share=Limit(0.80, f"{_PROJECT}: in >= 80 % of the frames"),
    phone_window_s=Limit(2.0, "Verizon Connect: phone >= 2 s"),
    phone_end_s=Limit(3.0, f"{_PROJECT}: absent 3 s"),
    smoking_window_s=Limit(2.0, "Verizon Connect: cigarette >= 2 s"),
    smoking_end_s=Limit(5.0, f"{_PROJECT}: absent 5 s"),
    drinking_window_s=Limit(2.0, "Samsara: eating or drinking >= 2 s"),
    drinking_end_s=Limit(5.0, f"{_PROJECT}: absent 5 s"),
    no_face_s=Limit(10.0, f"{_NCAP}: degraded state known within 10 s"),
    no_face_end_s=Limit(2.0, f"{_PROJECT}: face back for 2 s"),
    blind_s=Limit(10.0, f"{_NCAP}: degraded state known within 10 s"),
    blind_end_s=Limit(2.0, f"{_PROJECT}: 2 s fine"),
    same_event_s=Limit(5.0, f"{_RULES}: same kind within 5 s of its end"),
)

_NEVER = Limit(math.inf, "the original system has per-frame metrics only")

PROFILES: dict[ProfileName, Profile] = {
    "default": _DEFAULT,
    "legacy": replace(
        _DEFAULT,
        name="legacy",
        version=2,
        yaw_away_deg=Limit(
            25.0, f"{_METRICS}: yaw beyond +-25 from straight at the camera; the original's was no degree"
        ),
        pitch_away_deg=Limit(20.0, f"{_METRICS}: pitch beyond +-20 from straight at the camera; likewise"),
        eyes_unknown_yaw_deg=_NEVER,
        smallest_face_px=Limit(0.0, _NEVER.source),
        calibration_s=Limit(0.0, f"{_METRICS}: fixed thresholds, the same for everybody"),
        blink_closed=Limit(math.inf, f"{_METRICS}: EAR"),
        jaw_yawning=Limit(math.inf, f"{_METRICS}: MAR"),
        reopen_ratio=Limit(1.0, f"{_METRICS}: one threshold"),
        microsleep_s=_NEVER,
        sleep_s=_NEVER,
        unresponsive_s=_NEVER,
        perclos_medium=_NEVER,
        perclos_high=_NEVER,
        yawn_s=_NEVER,
        yawns=_NEVER,
        distraction_s=_NEVER,
        vats_sum_s=_NEVER,
        phone_window_s=_NEVER,
        smoking_window_s=_NEVER,
        drinking_window_s=_NEVER,
        no_face_s=_NEVER,
        blind_s=_NEVER,
    ),
    "euroncap": replace(
        _DEFAULT,
        name="euroncap",
        perclos_medium=Limit(
            math.inf, f"{_NCAP} asks for microsleep and sleep; of drowsiness for KSS, which is no share"
        ),
        perclos_high=Limit(math.inf, f"{_NCAP}: likewise"),
        yawn_s=Limit(math.inf, f"{_NCAP}: no yawns"),
        smoking_window_s=Limit(math.inf, f"{_NCAP}: no smoking"),
        drinking_window_s=Limit(math.inf, f"{_NCAP}: no drinking"),
    ),
    "addw": replace(
        _DEFAULT,
        name="addw",
        distraction_s=Limit(3.5, f"{_ADDW}: 3.5 s above 50 km/h; 6 s at 20-50 km/h, but the speed is not known here"),
        vats_sum_s=Limit(math.inf, f"{_ADDW} has single glances only"),
    ),
    "guardian": replace(
        _DEFAULT,
        name="guardian",
        distraction_s=Limit(4.0, f"{_GUARDIAN}: distraction 4 s"),
        vats_sum_s=Limit(math.inf, f"{_GUARDIAN}: single distractions only"),
    ),
    "openpilot": replace(
        _DEFAULT,
        name="openpilot",
        yaw_away_deg=Limit(23.0, f"{_OPENPILOT}: yaw 23 deg"),
        pitch_away_deg=Limit(17.9, f"{_OPENPILOT}: pitch 17.9 deg (down)"),
        distraction_s=Limit(3.0, f"{_OPENPILOT}: alerts at 3 / 5 / 11 s"),
        unresponsive_s=Limit(11.0, f"{_OPENPILOT}: alerts at 3 / 5 / 11 s"),
        vats_sum_s=Limit(math.inf, f"{_OPENPILOT} has single glances only"),
    ),
}
"""EAR and MAR limits are not here: they belong to the face models that measure them, see `models.packs`."""


_EYES = ("blink_closed", "reopen_ratio", "eyes_unknown_yaw_deg")
_HEAD = ("yaw_away_deg", "pitch_away_deg")
LIMITS_OF: dict[EventKind, tuple[str, ...]] = {
    "microsleep": ("microsleep_s", "microsleep_end_s", *_EYES),
    "sleep": ("sleep_s", "sleep_end_s", *_EYES),
    "unresponsive": ("unresponsive_s", "unresponsive_end_s", *_EYES, *_HEAD),
    "drowsy": ("perclos_window_s", "perclos_medium", "perclos_high", "perclos_end", "perclos_coverage", *_EYES),
    "yawn": ("yawn_s", "yawn_end_s", "jaw_yawning"),
    "yawning_repeated": ("yawns", "yawns_window_s", "yawn_s", "yawn_end_s", "jaw_yawning"),
    "distraction_long": ("distraction_s", "distraction_end_s", *_HEAD),
    "distraction_vats": ("vats_sum_s", "vats_window_s", "vats_reset_s", *_HEAD),
    "phone_use": ("phone_window_s", "object_share", "phone_end_s"),
    "smoking": ("smoking_window_s", "object_share", "smoking_end_s"),
    "drinking": ("drinking_window_s", "object_share", "drinking_end_s"),
    "no_face": ("no_face_s", "no_face_end_s", "smallest_face_px"),
    "camera_blind": ("blind_s", "blind_end_s"),
}
"""The numbers that decide about an event of a kind; the rules are in `models.events`."""


def main() -> None:
    """Print every profile's numbers and sources; of all but the first, those that differ from it."""
    for name in get_args(ProfileName):
        profile = PROFILES[name]
        print(f"\n{name} (version {profile.version})")
        for limit, value in profile.limits.items():
            if name == "default" or value != _DEFAULT.limits[limit] or value.source != _DEFAULT.limits[limit].source:
                print(f"  {limit:22s} {'none' if math.isinf(value) else f'{value:g}':>6s}  {value.source}")


if __name__ == "__main__":
    main()
