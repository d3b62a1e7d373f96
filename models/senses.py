"""What a face shows, against the driver's own neutral pose and eye opening: pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from models.packs import PACKS
from models.profiles import Profile
from models.types import Face

SAMPLE_S = 1.0
"""Calibration takes one face in so long."""
MOST_TURNED_DEG = 30.0
"""A neutral pose further from straight at the camera is that of a driver who looked elsewhere for half of the time."""
NARROWEST, WIDEST = 0.7, 1.3
"""How far a driver's open eyes may differ from the open eyes that the pack was measured on."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one face shows.

    Args:
        eyes_closed: None: seen too much from the side.
        mouth_open: Wide, as in a yawn.
        head_away: From the driver's neutral pose, see `Senses.calibrating`.
    """

    eyes_closed: bool | None
    mouth_open: bool
    head_away: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """What a driver's measures are compared with at this moment.

    Args:
        blink_closed: The eyes are closed above this `eye_blink`; None: EAR says it.
        ear_closed: Else they are closed below this EAR.
        jaw_open: The mouth is wide open above this `jaw_open`; None: MAR says it.
        mar_open: Else it is above this MAR.
        yaw_deg: The head is away outside these two.
        pitch_deg: Likewise.
    """

    blink_closed: float | None
    ear_closed: float
    jaw_open: float | None
    mar_open: float
    yaw_deg: tuple[float, float]
    pitch_deg: tuple[float, float]


class Senses:
    """Of one driver over one trip.

    Args:
        profile: Its numbers.
    """

    def __init__(self, profile: Profile) -> None:
        self._p = profile
        self._samples: list[tuple[float, float, float]] = []  # EAR, yaw, pitch; until there are enough
        self._sampled_s: float | None = None
        self._neutral = (1.0, 0.0, 0.0)  # eye opening against the pack's, yaw, pitch
        self._calibrating = profile.calibration_s > 0
        self._closed_s: float | None = None  # the eyes were closed last
        self._jaw_s: float | None = None  # the jaw was down last, of a mouth that has not shut since

    @property
    def calibrating(self) -> bool:
        """Whether the driver's neutral pose is not known yet.

        Until then the head is away when it is so from the faces so far and from straight at the camera: a camera may
        look from the side, and a trip may begin with a look elsewhere.
        """
        return self._calibrating

    def read(self, face: Face, at_s: float) -> Reading:
        """Take a face further.

        Args:
            face: As the models measured it.
            at_s: Capture time of its frame.
        """
        if self._calibrating:
            self._calibrate(face, at_s)
        opening, _, _ = self._neutral
        pack = PACKS[face.pack]
        eyes_closed: bool | None = None
        if abs(face.yaw_deg) <= self._p.eyes_unknown_yaw_deg:
            were_closed = self._closed_s is not None and at_s - self._closed_s <= self._p.gap_s
            wider = self._p.reopen_ratio if were_closed else 1.0
            if face.eye_blink is not None and math.isfinite(self._p.blink_closed):
                eyes_closed = face.eye_blink > self._p.blink_closed / wider
            else:
                eyes_closed = face.ear < pack.ear_closed_below * opening * wider
            self._closed_s = at_s if eyes_closed else None
        return Reading(eyes_closed, self._is_mouth_open(face, at_s), self._is_away(face))

    def limits(self, face: Face) -> Limits:
        """What such a face is compared with, for a person to see.

        Wider while it calibrates, and for eyes that were closed.
        """
        opening, yaw_deg, pitch_deg = self._neutral
        p, pack = self._p, PACKS[face.pack]
        by_blink = face.eye_blink is not None and math.isfinite(p.blink_closed)
        by_jaw = face.jaw_open is not None and math.isfinite(p.jaw_yawning)
        return Limits(
            blink_closed=float(p.blink_closed) if by_blink else None,
            ear_closed=pack.ear_closed_below * opening,
            jaw_open=float(p.jaw_yawning) if by_jaw else None,
            mar_open=pack.mar_open_above,
            yaw_deg=(yaw_deg - p.yaw_away_deg, yaw_deg + p.yaw_away_deg),
            pitch_deg=(pitch_deg - p.pitch_away_deg, pitch_deg + p.pitch_away_deg),
        )

    def snapshot(self) -> dict[str, Any]:
        """What `restore` needs: numbers and truth values only."""
        return {
            "samples": [list(sample) for sample in self._samples],
            "sampled_s": self._sampled_s,
            "neutral": list(self._neutral),
            "calibrating": self._calibrating,
            "closed_s": self._closed_s,
            "jaw_s": self._jaw_s,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot."""
        self._samples = [(ear, yaw, pitch) for ear, yaw, pitch in snapshot["samples"]]
        self._sampled_s = snapshot["sampled_s"]
        opening, yaw_deg, pitch_deg = snapshot["neutral"]
        self._neutral = (opening, yaw_deg, pitch_deg)
        self._calibrating = snapshot["calibrating"]
        self._closed_s = snapshot["closed_s"]
        self._jaw_s = snapshot["jaw_s"]

    def _is_mouth_open(self, face: Face, at_s: float) -> bool:
        """The jaw opens it. Its measure falls for single frames within a yawn; MAR bridges them, not more."""
        by_mar = face.mar > PACKS[face.pack].mar_open_above
        if face.jaw_open is None or math.isinf(self._p.jaw_yawning):
            return by_mar
        if face.jaw_open > self._p.jaw_yawning:
            self._jaw_s = at_s
        elif not by_mar or (self._jaw_s is not None and at_s - self._jaw_s >= self._p.face_lost_s):
            self._jaw_s = None
        return self._jaw_s is not None

    def _is_away(self, face: Face) -> bool:
        """From the neutral pose; while that is not sure, from straight at the camera as well."""
        _, yaw_deg, pitch_deg = self._neutral
        poses = [(yaw_deg, pitch_deg), *([(0.0, 0.0)] if self._calibrating else [])]
        return all(
            abs(face.yaw_deg - yaw_deg) > self._p.yaw_away_deg
            or abs(face.pitch_deg - pitch_deg) > self._p.pitch_away_deg
            for yaw_deg, pitch_deg in poses
        )

    def _calibrate(self, face: Face, at_s: float) -> None:
        if self._sampled_s is not None and at_s - self._sampled_s < SAMPLE_S:
            return
        self._sampled_s = at_s
        if self._samples and self._is_away(face):
            return  # or who looks elsewhere for long would make that the neutral pose
        self._samples.append((face.ear, face.yaw_deg, face.pitch_deg))
        yaw_deg = _within(median(sample[1] for sample in self._samples), -MOST_TURNED_DEG, MOST_TURNED_DEG)
        pitch_deg = _within(median(sample[2] for sample in self._samples), -MOST_TURNED_DEG, MOST_TURNED_DEG)
        self._neutral = (1.0, yaw_deg, pitch_deg)
        if len(self._samples) * SAMPLE_S < self._p.calibration_s:
            return
        pack = PACKS[face.pack]
        ears = [ear for ear, yaw, _ in self._samples if ear >= pack.ear_closed_below and abs(yaw) < MOST_TURNED_DEG]
        if 2 * len(ears) >= len(self._samples):  # else the driver's eyes were shut, or seen from the side
            self._neutral = (_within(median(ears) / pack.ear_open, NARROWEST, WIDEST), yaw_deg, pitch_deg)
        self._samples.clear()
        self._calibrating = False


def _within(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)
