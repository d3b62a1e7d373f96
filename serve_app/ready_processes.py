"""Processes that wait for vehicles: an actor's own start is quick, that of its process takes most of a second.

A Ray actor has its name from the start, so there can be no stock of vehicles; but of processes that have started, have
imported what a vehicle needs (`RAY_preload_python_modules`) and belong to nobody yet. Ray's nodes make them when asked,
by a call for which Ray has no public function: where it fails, vehicles start as slowly as any actor.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from typing import Any

import ray

from models.errors import one_line
from models.once_per import OncePer

_log = logging.getLogger(__name__)

READY = 10
"""On each node, some 50 MB each: as many as may well open in one moment."""
CALM_S = 3.0
"""Without an opening for so long, those that were taken are replaced: before, it would slow the openings."""
CHECK_S = 60.0
"""So often without an opening as well: something else may have taken one, or a node have come."""
PAUSE_S = 2.0
"""Between orders: Ray starts only as many at once as a node has cores, and forgets what is beyond. Each start takes
1.2 s of CPU, which the vehicles that have just opened want as well."""
KEPT_S = 3600
"""So long one waits, also after the service has ended; then it is ordered anew."""
TIMEOUT_S = 5.0
LOG_INTERVAL_S = 3600.0
NO_JOB = (b"", b"\xff" * 4)
"""As Ray writes it: such a process belongs to nobody."""


class ReadyProcesses:
    """Keeps them ready on every node of the cluster."""

    def __init__(self) -> None:
        self._taken_s = -math.inf
        self._due = True
        self._logged = OncePer(LOG_INTERVAL_S)

    def took(self) -> None:
        """A vehicle was started, on whichever node."""
        self._taken_s = time.monotonic()
        self._due = True

    async def keep_forever(self) -> None:
        """Order what is missing, one at a time on each node."""
        for turn in itertools.count():
            often = turn % round(CHECK_S / PAUSE_S) == 0
            if (self._due or often) and time.monotonic() - self._taken_s >= CALM_S:
                self._due = False  # before the look: what is taken meanwhile is missing again
                missing = await self._order()
                self._due = self._due or missing
            await asyncio.sleep(PAUSE_S)

    async def _order(self) -> bool:
        """Order one on each node that has too few; whether there was any. What fails is tried after `CHECK_S` again."""
        try:
            nodes = [node for node in await asyncio.to_thread(ray.nodes) if node["Alive"]]
            orders = (asyncio.to_thread(_order_missing, node) for node in nodes)
            answers = await asyncio.gather(*orders, return_exceptions=True)
        except Exception as error:  # noqa: BLE001 - Ray's head is away
            answers = [error]
        for answer in answers:  # not Ray's public interface: anything may come of it
            if isinstance(answer, BaseException) and self._logged.due(type(answer).__name__, time.monotonic()):
                _log.warning("processes are not kept ready, vehicles start more slowly: %s", one_line(answer))
        return any(answer is True for answer in answers)


def _order_missing(node: dict[str, Any]) -> bool:
    """Order one there if there are too few; whether there are."""
    # Private: imported only here, where a failure is caught.
    from ray._private.grpc_utils import init_grpc_channel  # noqa: PLC0415
    from ray.core.generated import common_pb2, node_manager_pb2, runtime_environment_pb2  # noqa: PLC0415
    from ray.core.generated.node_manager_pb2_grpc import NodeManagerServiceStub  # noqa: PLC0415

    common: Any = common_pb2  # generated: their types are not known
    messages: Any = node_manager_pb2
    # A process fits actors with the same environment only.
    environment: Any = runtime_environment_pb2.RuntimeEnvInfo(  # type: ignore[attr-defined]
        serialized_runtime_env=ray.get_runtime_context().get_runtime_env_string()  # type: ignore[no-untyped-call]
    )
    one_more = messages.PrestartWorkersRequest(
        language=common.PYTHON, runtime_env_info=environment, keep_alive_duration_secs=KEPT_S, num_workers=1
    )
    with init_grpc_channel(f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}") as channel:
        stub = NodeManagerServiceStub(channel)  # type: ignore[no-untyped-call]
        workers = stub.GetNodeStats(messages.GetNodeStatsRequest(), timeout=TIMEOUT_S).core_workers_stats
        free = [one for one in workers if one.worker_type == common.WORKER and one.job_id in NO_JOB]
        if len(free) >= READY:
            return False
        stub.PrestartWorkers(one_more, timeout=TIMEOUT_S)
        return True
