"""The service around a Detector that takes its time, so that load makes it scale."""

from __future__ import annotations

import asyncio
from typing import Any, get_args

from ray.serve import Application

from models.types import Detection, Label, Observation, Unreadable
from serve_app.app import AppArgs, assemble
from serve_app.views import DetectorInfo

SECONDS_A_FRAME = 0.02


END_OF_JPEG = b"\xff\xd9"


class SlowDetector:
    """Sees what `marked` wrote, slowly: one frame at a time, 50 a second."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()

    async def detect(self, jpegs: list[bytes]) -> list[Observation | Unreadable]:
        """One observation per frame; empty without a mark."""
        async with self._one_at_a_time:
            await asyncio.sleep(SECONDS_A_FRAME * len(jpegs))
        return [_observation(jpeg) for jpeg in jpegs]

    async def info(self) -> DetectorInfo:
        """What it runs."""
        return DetectorInfo("slow", "none")


def marked(jpeg: bytes, *labels: Label) -> bytes:
    """The frame with what is to be seen in it written behind its end, where bytes are allowed."""
    return jpeg + " ".join(labels).encode()


def _observation(jpeg: bytes) -> Observation:
    written = jpeg.rpartition(END_OF_JPEG)[2].decode().split()
    return Observation(
        tuple(Detection(label, 0.9, (0.0, 0.0, 9.0, 9.0)) for label in get_args(Label) if label in written)
    )


def build(args: dict[str, Any]) -> Application:
    """The application that slow_config.yaml names."""
    return assemble(AppArgs.model_validate(args), detector=SlowDetector)
