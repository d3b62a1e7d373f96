"""How the service grows: more Detectors, more nodes, and on paper more vehicles than any machine here carries.

    python -m benchmarks.scale

Detectors and nodes around a model that takes a card's time and none of these cores: all of it shares this machine,
which shows behaviour, not speed. On a CUDA device also: frames a second of one card with the real models.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.frames import jpegs
from benchmarks.pipeline import loaded
from benchmarks.service import SETTLE_S, Measured, service
from benchmarks.stub import CARD
from tests.waiting import eventually

COUNTS = (1, 2, 3, 4)
VEHICLES = 16
OF_A_CARD = 32
SECONDS = 8.0
FPS = 10.0
FLEETS = (10, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
FILLED = 0.7
"""Of a core that a single process may be planned with; above, its queues grow at every burst."""


@dataclass(frozen=True, slots=True)
class OnNodes:
    """A cluster under load.

    Args:
        fps: Frames a second.
        vehicles: Actors on each node, most first.
    """

    fps: float
    vehicles: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured, CPU milliseconds a frame where nothing else is said.

    Args:
        models: Decoding and both models.
        gateway: The Gateway's process.
        ray: Every other process of the service and of Ray, but for the vehicles.
        broker: mosquitto's.
        vehicle: A vehicle's process, beyond what it takes without a frame.
        vehicle_idle: That, a second.
        vehicle_mb: Its private memory.
        frame_kb: A JPEG.
    """

    models: float
    gateway: float
    ray: float
    broker: float
    vehicle: float
    vehicle_idle: float
    vehicle_mb: float
    frame_kb: float


@dataclass(frozen=True, slots=True)
class Need:
    """What a fleet takes at `FPS` frames a second each.

    Args:
        vehicles: In it, all on the road.
        cores: By part.
        gateways: Processes, each a thread that takes frames.
        brokers: Likewise.
        memory_gb: Of the vehicles.
        network_mbit: From the devices to the broker, which passes it on to the Gateway, and gets it back as base64, a
            third larger, for all who watch.
        limit: The part that takes most.
    """

    vehicles: int
    cores: dict[str, float]
    gateways: int
    brokers: int
    memory_gb: float
    network_mbit: float
    limit: str


def replicas(count: int, frames: Sequence[bytes]) -> float:
    """Frames a second with so many Detectors on one node."""
    with service(import_path=CARD, detectors={"num_replicas": count, "ray_actor_options": {"num_cpus": 0}}) as measured:
        return _saturated(measured, count, VEHICLES, frames).fps


def nodes(count: int, frames: Sequence[bytes]) -> OnNodes:
    """So many nodes with a Detector each."""
    options = {"num_replicas": count, "max_replicas_per_node": 1, "ray_actor_options": {"num_cpus": 1}}
    with service(import_path=CARD, detectors=options, nodes=count) as measured:
        return _saturated(measured, count, VEHICLES, frames)


def _saturated(measured: Measured, detectors: int, vehicles: int, frames: Sequence[bytes]) -> OnNodes:
    def running() -> int:
        return int((measured.service.json("/healthz") or {"detector_replicas": 0})["detector_replicas"])

    if not eventually(lambda: running() == detectors, SETTLE_S):
        raise RuntimeError(f"{running()} of {detectors} Detectors are running")
    with loaded(measured, vehicles, frames) as load:
        first, last = load.saturate(SECONDS)
    fps = (last.observed - first.observed) / (last.at_s - first.at_s)
    return OnNodes(fps, tuple(sorted(Counter(last.nodes).values(), reverse=True)))


def card_fps(frames: Sequence[bytes]) -> dict[int, float] | None:
    """Frames a second of one CUDA card, by Detectors on it; None without a card."""
    import torch  # noqa: PLC0415 - heavy

    if not torch.cuda.is_available():
        return None
    found = {}
    for count in (1, 2, 4):
        options = {"num_replicas": count, "ray_actor_options": {"num_cpus": 1, "num_gpus": 1 / count}}
        with service(detectors=options) as measured:
            found[count] = _saturated(measured, count, OF_A_CARD, frames).fps
    return found


def on_paper(vehicles: int, costs: Costs) -> Need:
    """What so many vehicles take, by the measured costs: as if everything grew in proportion."""
    per_s = vehicles * FPS
    cores = {
        "models": per_s * costs.models / 1000,
        "vehicles": (per_s * costs.vehicle + vehicles * costs.vehicle_idle) / 1000,
        "Gateways": per_s * costs.gateway / 1000,
        "Ray": per_s * costs.ray / 1000,
        "brokers": per_s * costs.broker / 1000,
    }
    return Need(
        vehicles=vehicles,
        cores=cores,
        gateways=math.ceil(cores["Gateways"] / FILLED),
        brokers=math.ceil(cores["brokers"] / FILLED),
        memory_gb=vehicles * costs.vehicle_mb / 1000,
        network_mbit=per_s * costs.frame_kb * 8 / 1000,
        limit=max(cores, key=lambda part: cores[part]),
    )


def main() -> None:
    """Print a line each."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    frames = jpegs()
    for count in COUNTS:
        print(f"{count} Detectors: {replicas(count, frames):.0f} frames/s", flush=True)
    for count in COUNTS:
        found = nodes(count, frames)
        print(f"{count} nodes: {found.fps:.0f} frames/s, vehicles on each {found.vehicles}", flush=True)
    by_detectors = card_fps(frames)
    print("one card:", by_detectors or "not measured, there is no CUDA device")


if __name__ == "__main__":
    main()
