"""The vehicle as a Ray actor: `vehicle/{uuid}` in namespace `dms`, alive from open_stream to the end of its flush."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle, exit_actor
from ray.experimental.internal_kv import internal_kv_get_gcs_client
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.flush import Flusher, FlushStatus
from actors.flush_tally import FlushTally
from actors.journal_records import Progress
from actors.ports import Home
from actors.records import EventRecord
from actors.vehicle import PushReply, SeenFrame, Vehicle, VehicleConfig
from models.logs import about, set_up_logs
from models.senses import Limits
from models.types import ClosedBy, Trip

NAMESPACE = "dms"
KV_TIMEOUT_S = 2.0
"""For a call to Ray's head that keeps a tally: a vehicle's end does not wait longer for it."""
EXIT_S = 10.0
"""Ray ends an actor within two seconds after it has asked for it; one that still lives then is stuck."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VehicleStatus:
    """A look at a living vehicle.

    Args:
        trip: The open one.
        progress: How far that is.
        part: The part of it that is under way.
        age_s: Seconds since it opened, by clocks that nobody sets; 0 without one.
        flushes: What is not stored yet.
        node: Ray's id of the node it lives on.
        pid: Its process.
        events: That run.
        limits: What its driver's measures are compared with now; None until there was a face.
    """

    trip: Trip | None
    progress: Progress
    part: int
    age_s: float
    flushes: tuple[FlushStatus, ...]
    node: str
    pid: int
    events: tuple[EventRecord, ...] = ()
    limits: Limits | None = None


class VehicleActor:
    """The shell around `Vehicle`: one thread for pushes, others to look at it.

    Being detached, nobody ends it but itself: when its last trip is stored, and when the Gateway has been silent
    for so long that it must be gone: then its trip is suspended.

    Args:
        vehicle: The vehicle's UUID.
        config: See `VehicleConfig`.
        home: Where this node keeps things.
    """

    def __init__(self, vehicle: uuid.UUID, config: VehicleConfig, home: Home) -> None:
        set_up_logs("Vehicle", vehicle=vehicle)
        self._uuid = vehicle
        self._orphaned_after_s = config.orphaned_after_s
        self._heard_s = time.monotonic()
        self._ending = threading.Lock()
        self._asked_to_end = self._over = False
        self._opened: tuple[uuid.UUID, float] | None = None  # the trip of the last frame, and when it must have opened
        self._self = ray.get_runtime_context().current_actor
        self._node = ray.get_runtime_context().get_node_id()
        self._tally = FlushTally(_keep)
        self._flusher = Flusher(home.open_stores, on_idle=self._rest, on_attempt=self._tally.add)
        self._vehicle = Vehicle(vehicle, config, home.journals(), self._flusher.submit)
        threading.Thread(target=self._watch_for_silence, name="orphan-watch", daemon=True).start()
        threading.Thread(target=self._sync, args=(config.sync_interval_s,), name="journal-sync", daemon=True).start()

    def __repr__(self) -> str:
        return f"Vehicle({self._uuid})"

    @ray.method(concurrency_group="frames")
    def push(
        self, trip: Trip, frames: Sequence[SeenFrame], closed_by: ClosedBy | None = None, after_part: int = 0
    ) -> PushReply:
        """See `Vehicle.push`; an empty one says that the Gateway is there."""
        self._heard_s = time.monotonic()
        reply = self._vehicle.push(trip, frames, closed_by, after_part)
        if frames:
            self._note_opening(trip, time.monotonic() - frames[-1].frame.captured_s)
        if self._vehicle.trip is None:
            self._ask_to_end()
        return reply

    @ray.method(concurrency_group="frames")
    def end_if_done(self) -> None:
        """End the actor unless a trip is open or something is left to flush."""
        with self._ending:
            self._asked_to_end = False
            self._over = self._vehicle.trip is None and not self._flusher.pending
        if self._over:
            self._vehicle.release()
            stuck = threading.Timer(EXIT_S, os._exit, (1,))  # frames to it would wait for ever
            stuck.daemon = True
            stuck.start()
            exit_actor()  # type: ignore[no-untyped-call]

    @ray.method(concurrency_group="frames")
    def finish_left_behind(self, trip: Trip | None) -> None:
        """See `Vehicle.finish_left_behind`: nobody knows of the trip that it took over from a journal."""
        self._vehicle.finish_left_behind(trip)
        self._ask_to_end()

    @ray.method(concurrency_group="control")
    def status(self) -> VehicleStatus:
        """What it is doing; answered while a push or a flush is under way."""
        return self._status()

    @ray.method(concurrency_group="frames")
    def standing(self) -> VehicleStatus:
        """The same in line behind the pushes that have come, so that it counts their frames."""
        return self._status()

    def _status(self) -> VehicleStatus:
        trip, progress, part = self._vehicle.standing or (None, Progress(), 0)
        return VehicleStatus(
            trip=trip,
            progress=progress,
            part=part,
            age_s=self._age_s(trip, progress) if trip else 0.0,
            flushes=self._flusher.pending,
            node=self._node,
            pid=os.getpid(),
            events=self._vehicle.running_events,
            limits=self._vehicle.limits,
        )

    def _age_s(self, trip: Trip, progress: Progress) -> float:
        if self._opened is not None and self._opened[0] == trip.id:
            return time.monotonic() - self._opened[1]
        # No push since this process began: the wall clock says it, unless that was set back meanwhile.
        return max(progress.last_s, time.time() - trip.opened_at_ms / 1000)

    def _rest(self) -> None:
        self._tally.rest()
        self._ask_to_end()

    def _ask_to_end(self) -> None:
        # exit_actor() works on a thread that runs an actor's method only, and there it is in line behind the pushes.
        with self._ending:
            # One at a time, and none once it ends: a call to itself that comes then would keep Ray from ending it.
            if not self._asked_to_end and not self._over:
                self._asked_to_end = True
                self._self.end_if_done.remote()

    def _note_opening(self, trip: Trip, opened_s: float) -> None:
        """The earliest is the best: frames come late, never early."""
        known = self._opened is not None and self._opened[0] == trip.id
        self._opened = (trip.id, min(opened_s, self._opened[1]) if known and self._opened else opened_s)

    def _sync(self, interval_s: float) -> None:
        while interval_s > 0:  # at 0 every push does it before it is answered
            time.sleep(interval_s)
            self._vehicle.sync()

    def _watch_for_silence(self) -> None:
        while True:
            time.sleep(min(1.0, self._orphaned_after_s))
            if time.monotonic() - self._heard_s > self._orphaned_after_s:
                if (trip := self._vehicle.trip) is not None:
                    with about(trip.vehicle, trip.id):
                        _log.warning(
                            "no word from the Gateway for %.0f s: the trip is suspended", self._orphaned_after_s
                        )
                        self._vehicle.suspend()
                with self._ending:
                    self._asked_to_end = False  # should that call have been lost
                self._ask_to_end()
                self._heard_s = time.monotonic()


def _keep(key: str, text: str) -> None:
    """Where `serve_app.flush_tallies` finds it, in place of what is there; the function is Ray's own, not public."""
    head: Any = internal_kv_get_gcs_client()  # type: ignore[no-untyped-call]
    head.internal_kv_put(key.encode(), text.encode(), True, NAMESPACE.encode(), KV_TIMEOUT_S)  # noqa: FBT003 - takes no names


# Once: Ray exports a class each time that it is made remote, and every process and its GCS keep each for good.
_REMOTE_CLASS: Any = ray.remote(concurrency_groups={"frames": 1, "control": 2})(VehicleActor)  # type: ignore[call-overload]


def start_vehicle(
    vehicle: uuid.UUID, config: VehicleConfig, home: Home, *, near_node: str | None = None
) -> ActorHandle[Any]:
    """The living actor of this vehicle, or a new one; blocks for the few milliseconds of a call to Ray's GCS.

    Args:
        vehicle: Its UUID.
        config: What a new one is started with.
        home: Likewise.
        near_node: Ray's id of the node that a new one should be on, because its journals are there; else any one.
            Ray starts it there again, too, as long as there is that node.
    """
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    node = near_node or random.choice([one["NodeID"] for one in nodes if one["Alive"]])  # noqa: S311
    where = NodeAffinitySchedulingStrategy(node, soft=True)
    actor: ActorHandle[Any] = _REMOTE_CLASS.options(
        name=actor_name(vehicle),
        namespace=NAMESPACE,
        get_if_exists=True,
        lifetime="detached",
        max_restarts=-1,
        max_task_retries=0,
        num_cpus=0,
        scheduling_strategy=where,
    ).remote(vehicle, config, home)
    return actor


def actor_name(vehicle: uuid.UUID | str) -> str:
    """`vehicle/{uuid}`."""
    return f"vehicle/{vehicle}"
