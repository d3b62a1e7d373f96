"""Processes that wait for vehicles: an actor's own start is quick, that of its process takes most of a second.

A Ray actor has its name from the start, so there can be no stock of vehicles; but of processes that have started, have
imported what a vehicle needs (`RAY_preload_python_modules`) and belong to nobody yet. Ray's nodes make them when asked,
by a call for which Ray has no public function: where it fails, vehicles start as slowly as any actor.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import Any

import ray

from models.errors import one_line

_log = logging.getLogger(__name__)

READY = 10
"""On each node, some 50 MB each: as many as may well open in one moment."""
KEPT_S = 600
"""An unused one lives for so long. Then there are new ones: what else took some of them need not be known."""
CALM_S = 3.0
"""Without an opening for so long, those that were taken are replaced: before, it would slow the openings."""
PAUSE_S = 1.0
"""Between orders: Ray starts only as many at once as a node has cores, and forgets what is beyond."""
TIMEOUT_S = 5.0


class ReadyProcesses:
    """Keeps them ready on every node of the cluster."""

    def __init__(self) -> None:
        self._taken = 0
        self._taken_s = 0.0

    def took(self) -> None:
        """A vehicle was started, on whichever node."""
        self._taken += 1
        self._taken_s = time.monotonic()

    async def keep_forever(self) -> None:
        """Order them, and their replacements."""
        try:
            while True:
                await self._order(READY)
                ordered_s = time.monotonic()
                while time.monotonic() - ordered_s < KEPT_S:
                    await asyncio.sleep(PAUSE_S)
                    if self._taken and time.monotonic() - self._taken_s >= CALM_S:
                        taken, self._taken = self._taken, 0
                        nodes = await asyncio.to_thread(_nodes)
                        await self._order(min(READY, math.ceil(taken / len(nodes))))  # vehicles are spread evenly
        except Exception as error:  # noqa: BLE001 - not Ray's public interface: anything may come of it
            _log.warning("no processes are kept ready, vehicles start more slowly: %s", one_line(error))

    async def _order(self, count: int) -> None:
        """So many on each node."""
        for _ in range(count):
            for node in await asyncio.to_thread(_nodes):
                await asyncio.to_thread(_order_one, node)
            await asyncio.sleep(PAUSE_S)


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _order_one(node: dict[str, Any]) -> None:
    # Private: imported only here, where a failure is caught.
    from ray._private.grpc_utils import init_grpc_channel  # noqa: PLC0415
    from ray.core.generated import common_pb2, node_manager_pb2, runtime_environment_pb2  # noqa: PLC0415
    from ray.core.generated.node_manager_pb2_grpc import NodeManagerServiceStub  # noqa: PLC0415

    messages: Any = node_manager_pb2  # generated: their types are not known
    common: Any = common_pb2
    environments: Any = runtime_environment_pb2
    # A process fits actors with the same environment only.
    environment = ray.get_runtime_context().get_runtime_env_string()  # type: ignore[no-untyped-call]
    request = messages.PrestartWorkersRequest(
        language=common.PYTHON,
        runtime_env_info=environments.RuntimeEnvInfo(serialized_runtime_env=environment),
        keep_alive_duration_secs=KEPT_S,
        num_workers=1,
    )
    with init_grpc_channel(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}") as channel:
        stub = NodeManagerServiceStub(channel)  # type: ignore[no-untyped-call]
        stub.PrestartWorkers(request, timeout=TIMEOUT_S)
