"""The service around a Detector without models, which sees in each frame what the frame's mark tells it to."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from ray.serve import Application

from models.types import Detection, Face, Observation, Unreadable
from serve_app.app import AppArgs, assemble
from serve_app.views import DetectorInfo
from tests.chaos.marks import Mark, mark_of

FIRST_EAR = 1.0
"""Added to a frame's number, so that `ear` in its row of `alerts` says which frame it is of, and no eyes are closed."""


class MarkedDetector:
    """Does what the marks say; see `Mark`."""

    async def detect(self, jpegs: list[bytes]) -> list[Observation | Unreadable]:
        """One answer per frame, in order."""
        marks = [mark_of(jpeg) for jpeg in jpegs]
        if any(mark.poison for mark in marks):
            os._exit(1)
        await asyncio.sleep(sum(mark.slow_s for mark in marks))
        return [_observation(mark) for mark in marks]

    async def info(self) -> DetectorInfo:
        """What it runs."""
        return DetectorInfo("marks", "marks")


def build(args: dict[str, Any]) -> Application:
    """The application that config.yaml names."""
    return assemble(AppArgs.model_validate(args), detector=MarkedDetector)


def _observation(mark: Mark) -> Observation:
    xyxy = (0.0, 0.0, 10.0, 10.0)
    face = Face(
        confidence=1.0,
        xyxy=xyxy,
        ear=mark.number + FIRST_EAR,
        mar=0.0,
        yaw_deg=0.0,
        pitch_deg=0.0,
        roll_deg=0.0,
        pack="landmarker-478",
    )
    return Observation(tuple(Detection(label, 1.0, xyxy) for label in mark.see), face)
