"""The service around a Detector that takes its time, so that load makes it scale."""

from __future__ import annotations

import asyncio
from typing import Any

from ray.serve import Application

from models.types import Observation, Unreadable
from serve_app.app import AppArgs, assemble
from serve_app.views import DetectorInfo

SECONDS_A_FRAME = 0.02


class SlowDetector:
    """Sees nothing, slowly: one frame at a time, 50 a second."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()

    async def detect(self, jpegs: list[bytes]) -> list[Observation | Unreadable]:
        """One empty observation per frame."""
        async with self._one_at_a_time:
            await asyncio.sleep(SECONDS_A_FRAME * len(jpegs))
        return [Observation() for _ in jpegs]

    async def info(self) -> DetectorInfo:
        """What it runs."""
        return DetectorInfo("slow", "none")


def build(args: dict[str, Any]) -> Application:
    """The application that slow_config.yaml names."""
    return assemble(AppArgs.model_validate(args), detector=SlowDetector)
