"""The Gateway as the API sees it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

from serve_app.observed import Seen
from serve_app.views import DetectorInfo, FlowHealth, FlushInfo, StreamInfo


class FakeGateway:
    """`GatewayView`.

    Attributes:
        now: What `health` says.
        now_open: The open streams; `close` takes one out.
        flushing: What is closed and not stored.
        opened: Vehicles that `open` was asked for; refused when `full`.
        seen: What was seen of a vehicle.
        failure: What every call raises, if anything.
    """

    def __init__(self) -> None:
        self.now = FlowHealth(
            broker="connected",
            detector_replicas=2,
            detector=DetectorInfo(object_model="yolo", face_model="landmarker-478"),
            journal="ok",
            streams=0,
            refused={"not_jpeg": 3},
        )
        self.now_open: list[StreamInfo] = []
        self.flushing: list[FlushInfo] = []
        self.opened: list[uuid.UUID] = []
        self.full = False
        self.seen: dict[uuid.UUID, list[Seen]] = {}
        self.failure: Exception | None = None

    async def health(self) -> FlowHealth:
        """See `GatewayView.health`."""
        self._fail()
        return self.now

    async def streams(self) -> list[StreamInfo]:
        """See `GatewayView.streams`."""
        self._fail()
        return self.now_open

    async def stream(self, vehicle: uuid.UUID) -> StreamInfo | None:
        """See `GatewayView.stream`."""
        self._fail()
        return next((info for info in self.now_open if info.trip.vehicle == vehicle), None)

    async def open(self, vehicle: uuid.UUID) -> bool:
        """See `GatewayView.open`."""
        self._fail()
        self.opened.append(vehicle)
        return not self.full

    async def close(self, vehicle: uuid.UUID) -> bool:
        """See `GatewayView.close`."""
        self._fail()
        left = [info for info in self.now_open if info.trip.vehicle != vehicle]
        closed, self.now_open = len(left) < len(self.now_open), left
        return closed

    async def flushes(self) -> list[FlushInfo]:
        """See `GatewayView.flushes`."""
        self._fail()
        return self.flushing

    async def observed(self, vehicle: uuid.UUID, after: int) -> Sequence[Seen]:
        """See `GatewayView.observed`."""
        self._fail()
        found = [one for one in self.seen.get(vehicle, ()) if one.number > after]
        if not found:
            await asyncio.sleep(0.05)
        return found

    def _fail(self) -> None:
        if self.failure:
            raise self.failure
