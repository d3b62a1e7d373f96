"""The service around a Detector without models: what is left is everything else."""

from __future__ import annotations

from typing import Any

from ray.serve import Application

from models.types import Detection, Face, Observation, Unreadable
from serve_app.app import AppArgs, assemble
from serve_app.views import DetectorInfo

DRINK = b"drink"
"""Behind the end of a JPEG it is seen as a bottle."""

_FACE = Face(
    confidence=1.0,
    xyxy=(200.0, 100.0, 400.0, 300.0),
    ear=0.4,
    mar=0.1,
    yaw_deg=0.0,
    pitch_deg=0.0,
    roll_deg=0.0,
    pack="landmarker-478",
    eye_blink=0.1,
    jaw_open=0.0,
)
_CALM = Observation((), _FACE, "stub stub")
_DRINKS = Observation((Detection("bottle", 0.9, (0.0, 0.0, 9.0, 9.0)),), _FACE, "stub stub")


class StubDetector:
    """Sees an attentive driver at once, in every frame."""

    async def detect(self, jpegs: list[bytes]) -> list[Observation | Unreadable]:
        """One observation per frame."""
        return [_DRINKS if jpeg.endswith(DRINK) else _CALM for jpeg in jpegs]

    async def info(self) -> DetectorInfo:
        """What it runs."""
        return DetectorInfo("stub", "stub")


def build(args: dict[str, Any]) -> Application:
    """The application that stub_config.yaml names."""
    return assemble(AppArgs.model_validate(args), detector=StubDetector)
