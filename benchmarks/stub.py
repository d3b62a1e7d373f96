"""The service around a Detector without models: what is left is everything else."""

from __future__ import annotations

import asyncio
from typing import Any

from ray.serve import Application

from models.types import Detection, Face, Observation, Unreadable
from serve_app.app import AppArgs, assemble
from serve_app.views import DetectorInfo

STUB = "benchmarks.stub:build"
CARD = "benchmarks.stub:build_card"
DRINK = b"drink"
"""Behind the end of a JPEG it is seen as a bottle, whatever follows."""
MARKS = 32
"""Bytes, at most, behind the end of a JPEG."""
CARD_S = 0.005
"""A frame takes so long on a card that is somewhere else."""

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
CALM = Observation((), _FACE, "stub stub")
DRINKS = Observation((Detection("bottle", 0.9, (0.0, 0.0, 9.0, 9.0)),), _FACE, "stub stub")


class StubDetector:
    """Sees an attentive driver at once, in every frame."""

    async def detect(self, jpegs: list[bytes]) -> list[Observation | Unreadable]:
        """One observation per frame."""
        return [DRINKS if DRINK in jpeg[-MARKS:] else CALM for jpeg in jpegs]

    async def info(self) -> DetectorInfo:
        """What it runs."""
        return DetectorInfo("stub", "stub")


class CardDetector(StubDetector):
    """The same after as long as a card would take, one batch at a time, and with none of this machine's cores."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()

    async def detect(self, jpegs: list[bytes]) -> list[Observation | Unreadable]:
        """One observation per frame."""
        async with self._one_at_a_time:
            await asyncio.sleep(CARD_S * len(jpegs))
        return await super().detect(jpegs)


def build(args: dict[str, Any]) -> Application:
    """The application around `StubDetector`."""
    return assemble(AppArgs.model_validate(args), detector=StubDetector)


def build_card(args: dict[str, Any]) -> Application:
    """The application around `CardDetector`."""
    return assemble(AppArgs.model_validate(args), detector=CardDetector)
