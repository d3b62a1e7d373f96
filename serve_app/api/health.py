"""`/healthz`: each dependency's state."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from serve_app.api.streams import ANSWER_TIMEOUT_S, GatewayView
from serve_app.probe import Probe
from serve_app.stores import Readers
from serve_app.views import FlowHealth


class HealthOut(BaseModel):
    """Each dependency's state; `ok` or what is wrong."""

    status: str = Field(description="Whether frames can be taken", examples=["ok", "unavailable"])
    broker: str = Field(description="Of the Gateway's connection", examples=["connected"])
    detector_replicas: int = Field(description="Detectors that run")
    object_model: str = Field(description="`none` without one", examples=["drivers11n-0a1b2c3d"])
    face_model: str = Field(description="Name of the pack", examples=["landmarker-478"])
    database: str = Field(description="`ok`, or the kind of error", examples=["ok", "OperationalError"])
    storage: str = Field(description="Likewise, of the footage's store", examples=["ok"])
    journal: str = Field(description="`ok`, or why the open trips' journals are not complete on disk")
    streams: int = Field(description="Open ones")
    refused: dict[str, int] = Field(
        description="Everything refused or dropped since the start, by reason", examples=[{"not_jpeg": 3}]
    )
    batch_frames: float | None = Field(description="Frames in a batch, mean of the last 50; null before the first")


def health_routes(gateway: GatewayView, readers: Readers) -> APIRouter:
    """`/healthz`."""
    router = APIRouter()
    database_probe, storage_probe = Probe(readers.metrics.ping), Probe(readers.footage.ping)

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz", responses={503: {"model": HealthOut}})
    async def healthz(response: Response) -> HealthOut:
        """Each dependency's state; 503 when frames cannot be taken."""
        flow, database, storage = await asyncio.gather(
            _flow_health(gateway), _ping(database_probe), _ping(storage_probe)
        )
        if not flow.takes_frames:
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return HealthOut(
            status="ok" if flow.takes_frames else "unavailable",
            broker=flow.broker,
            detector_replicas=flow.detector_replicas,
            object_model=flow.detector.object_model if flow.detector else "starting",
            face_model=flow.detector.face_model if flow.detector else "starting",
            database=database,
            storage=storage,
            journal=flow.journal,
            streams=flow.streams,
            refused=flow.refused,
            batch_frames=flow.batch_frames,
        )

    return router


async def _flow_health(gateway: GatewayView) -> FlowHealth:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await gateway.health()
    except Exception as error:  # noqa: BLE001 - whatever it is, the Gateway is not there, and that is the answer
        return FlowHealth(
            broker=f"the Gateway does not answer ({type(error).__name__})",
            detector_replicas=0,
            detector=None,
            streams=0,
            journal="unknown",
            refused={},
        )


async def _ping(probe: Probe[None]) -> str:
    try:
        await probe.answer(ANSWER_TIMEOUT_S)
    except TimeoutError:
        return f"no answer within {ANSWER_TIMEOUT_S:.0f} s"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return type(error).__name__  # its text may name users and addresses
    return "ok"
