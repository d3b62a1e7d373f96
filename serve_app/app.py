"""The composition root: which deployment gets what. Options of the deployments stand in serve_config.yaml."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application

from serve_app.api import Api
from serve_app.detector import Detector
from serve_app.gateway import Gateway


class AppArgs(BaseModel):
    """`args` in serve_config.yaml; shown in clear by Ray's dashboard, so no secret may stand here."""

    model_config = ConfigDict(extra="forbid")

    max_batch_size: int = Field(16, ge=1, le=256, description="Frames in one call to a Detector")
    batches_per_replica: int = Field(3, ge=1, le=64, description="Calls in flight per running Detector")


def build(args: dict[str, Any]) -> Application:
    """The application that serve_config.yaml names, from its `args`; raises pydantic's ValidationError."""
    return assemble(AppArgs.model_validate(args), detector=Detector)


def assemble(args: AppArgs, *, detector: type) -> Application:
    """The application around any class with the Detector's methods; tests give one that is slow or that dies."""
    detectors = serve.deployment(name="Detector")(detector).bind()
    gateway = serve.deployment(name="Gateway")(Gateway).bind(
        detectors, max_batch_size=args.max_batch_size, batches_per_replica=args.batches_per_replica
    )
    return serve.deployment(name="Api")(serve.ingress()(Api)).bind(gateway)
