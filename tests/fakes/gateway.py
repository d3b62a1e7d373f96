"""The Gateway as the API sees it."""

from __future__ import annotations

import uuid

from serve_app.views import DetectorInfo, FlowHealth, FlushInfo, StreamInfo


class FakeGateway:
    """`GatewayView`.

    Attributes:
        now: What `health` says.
        open: The open streams; `close` takes one out.
        flushing: What is closed and not stored.
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
        self.open: list[StreamInfo] = []
        self.flushing: list[FlushInfo] = []
        self.failure: Exception | None = None

    async def health(self) -> FlowHealth:
        """See `GatewayView.health`."""
        self._fail()
        return self.now

    async def streams(self) -> list[StreamInfo]:
        """See `GatewayView.streams`."""
        self._fail()
        return self.open

    async def stream(self, vehicle: uuid.UUID) -> StreamInfo | None:
        """See `GatewayView.stream`."""
        self._fail()
        return next((info for info in self.open if info.trip.vehicle == vehicle), None)

    async def close(self, vehicle: uuid.UUID) -> bool:
        """See `GatewayView.close`."""
        self._fail()
        left = [info for info in self.open if info.trip.vehicle != vehicle]
        closed, self.open = len(left) < len(self.open), left
        return closed

    async def flushes(self) -> list[FlushInfo]:
        """See `GatewayView.flushes`."""
        self._fail()
        return self.flushing

    def _fail(self) -> None:
        if self.failure:
            raise self.failure
