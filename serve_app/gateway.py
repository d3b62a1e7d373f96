"""The Gateway as a Serve deployment: the broker, the Detectors' handle and the vehicles' actors around `Flow`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import ray
from ray import serve
from ray.exceptions import ActorUnavailableError, RayActorError, RayError
from ray.serve.handle import DeploymentHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.flush import FlushStatus
from actors.journal import no_room
from actors.vehicle import PushReply, VehicleConfig
from actors.vehicle_actor import NAMESPACE, VehicleStatus, actor_name, start_vehicle
from models.errors import one_line
from models.jpeg import FrameLimits
from models.logs import set_up_logs
from models.types import Observation, Trip, Unreadable
from serve_app.adapters.broker import EmbeddedBroker
from serve_app.adapters.mqtt import MqttConnection
from serve_app.brokers import broker_address
from serve_app.crashed import CrashedFrames
from serve_app.flow import REPLICAS_TIMEOUT_S, Flow, FlowConfig
from serve_app.flush_tallies import FlushTallies, RayKept
from serve_app.gateway_metrics import GatewayMetrics
from serve_app.loopback import keep_to_loopback
from serve_app.observed import Seen
from serve_app.probe import Probe
from serve_app.ready_processes import ReadyProcesses
from serve_app.recovery import Part, Recovery, parts_with_journals
from serve_app.registrar import Registrar
from serve_app.scheduler import Push
from serve_app.settings import process_settings
from serve_app.shared_answer import SharedAnswer
from serve_app.stores import HOME, gateway_lock, journal_folder, open_metrics, vehicle_config
from serve_app.trip_notes import TripNotes
from serve_app.views import DetectorInfo, FlowHealth, FlushInfo, StreamInfo

_log = logging.getLogger(__name__)

INFO_TIMEOUT_S = 2.0
WATCH_S = 2.0
"""Who watches waits for so long at a time: a Gateway that ends has let go of them in time."""
HAND_OVER_S = 12.0
"""With what comes before and after, less than Serve's graceful_shutdown_timeout_s of 20: after that it kills."""


class Gateway:
    """See `Flow`.

    Args:
        detector: The Detectors.
        max_batch_size: Frames in one call to a Detector.
        batches_per_replica: Calls in flight per running Detector.
    """

    # Serve awaits it; a plain __init__ would run on another event loop than the methods.
    async def __init__(  # type: ignore[misc]
        self, detector: DeploymentHandle[Any], *, max_batch_size: int, batches_per_replica: int
    ) -> None:
        keep_to_loopback()
        settings = process_settings()
        set_up_logs("Gateway")
        # Serve starts the next Gateway while this one still hands over: one at a time, or their pushes would mix.
        self._turn = gateway_lock(settings.data_dir)
        await asyncio.to_thread(self._turn.acquire, timeout=HAND_OVER_S + 10)
        self._embedded = None
        if settings.mqtt is None:
            self._embedded = EmbeddedBroker(port=settings.mqtt_broker_port)
            await asyncio.to_thread(self._embedded.start)
        self._detectors = ServeDetectors(detector)
        self._registrar = Registrar(lambda: open_metrics(settings))
        self._draining = False
        self._handing_over = False
        self._mqtt = MqttConnection(broker_address(settings), self._message)
        processes = ReadyProcesses()
        vehicles = RayVehicles(vehicle_config(settings), processes.took)
        notes = TripNotes(journal_folder(), ray.get_runtime_context().get_session_name())
        self._flow = Flow(
            FlowConfig(
                limits=FrameLimits(max_bytes=settings.max_frame_bytes, max_pixels=settings.max_frame_pixels),
                max_vehicles=settings.max_vehicles,
                mailbox_frames=settings.mailbox_frames,
                max_batch_size=max_batch_size,
                batches_per_replica=batches_per_replica,
                idle_timeout_s=settings.stream_idle_timeout_s,
            ),
            detectors=self._detectors,
            vehicles=vehicles,
            broker=self._mqtt,
            register=self._registrar.register,
            notes=notes,
            keep_crashed=CrashedFrames(settings.data_dir / "crashed").keep,
            loop=asyncio.get_running_loop(),
        )
        self._vehicles = vehicles
        # Each asks every vehicle: all who look at once get one answer.
        self._streams = SharedAnswer(self._flow.streams)
        self._flushes = SharedAnswer(lambda: vehicles.flushes(lambda: self._flow.open_trips))
        self._recovery = Recovery(
            vehicles,
            notes,
            adopt=self._flow.adopt,
            reopen=self._flow.reopen,
            is_open=lambda trip: trip.id in self._flow.open_trips,
            is_busy=self._flow.has,
        )
        await self._recovery.adopt()
        self._flow.start()
        self._keeping = asyncio.get_running_loop().create_task(processes.keep_forever(), name="ready processes")
        self._sweeping = asyncio.get_running_loop().create_task(self._recovery.sweep_forever(), name="recovery")
        metrics = GatewayMetrics(
            self._flow,
            connected=lambda: self._mqtt.state == "connected",
            journals=lambda: vehicles.journals(INFO_TIMEOUT_S),
            tallies=FlushTallies(RayKept()),
        )
        # To the end of the process: how the last trips are stored is of interest too.
        self._exporting = asyncio.get_running_loop().create_task(metrics.export_forever(), name="metrics")
        self._mqtt.start()

    async def __del__(self) -> None:
        """Serve awaits it when another replica takes this one's place: its trips go on there."""
        if not hasattr(self, "_sweeping") or self._draining:
            return
        self._draining = self._handing_over = True
        self._sweeping.cancel()
        self._keeping.cancel()
        self._mqtt.say_offline()
        await self._flow.hand_over(HAND_OVER_S)
        await asyncio.to_thread(self._mqtt.stop)  # after the last alert
        if self._embedded:
            await asyncio.to_thread(self._embedded.stop)
        self._turn.release()

    async def streams(self) -> list[StreamInfo]:
        """The open streams."""
        return await self._streams.get()

    async def stream(self, vehicle: uuid.UUID) -> StreamInfo | None:
        """One of them."""
        return await self._flow.stream(vehicle)

    async def health(self) -> FlowHealth:
        """Whether frames can be taken."""
        return FlowHealth(
            broker="connected, going down" if self._draining else self._mqtt.state,
            detector_replicas=self._flow.detector_replicas,
            detector=await self._detectors.info() if self._flow.detector_replicas else None,
            journal=await asyncio.to_thread(self._journal_state),
            streams=len(self._flow.intake.views()),
            refused=self._flow.intake.refused,
            batch_frames=self._flow.batch_frames,
        )

    async def observed(self, vehicle: uuid.UUID, after: int) -> Sequence[Seen]:
        """What was seen of it since, see `Observed.after`."""
        return await self._flow.observed.after(vehicle, after, WATCH_S)

    async def open(self, vehicle: uuid.UUID) -> bool:
        """Begin a trip as its open_stream would; False when that is refused, as beyond MAX_VEHICLES."""
        self._flow.reopen(vehicle)
        return vehicle in self._flow.intake.views()

    async def close(self, vehicle: uuid.UUID) -> bool:
        """End the vehicle's trip as its close_stream would; False when none is open."""
        return self._flow.intake.close(vehicle, "operator")

    async def flushes(self) -> list[FlushInfo]:
        """What is closed and not stored yet, also where no actor says so."""
        return await self._flushes.get()

    async def drain(self, grace_s: float) -> int:
        """Take no frame any more and flush every trip; returns how many vehicles were left when the time was over."""
        self._draining = True
        self._sweeping.cancel()
        self._keeping.cancel()
        self._mqtt.say_offline()
        left = await self._flow.drain(grace_s)
        journals = await self._vehicles.journals(INFO_TIMEOUT_S)
        left = max(left, len({vehicle for parts in journals.values() for vehicle, _, _ in parts}))
        await asyncio.to_thread(self._mqtt.stop)
        if self._embedded:
            await asyncio.to_thread(self._embedded.stop)
        return left

    def check_health(self) -> None:
        """Serve replaces this process when the consumer or the flow is dead.

        Raises:
            RuntimeError: Or what ended the flow.
        """
        if self._draining:  # its parts end on purpose, and nothing may take their place
            return
        self._mqtt.check()
        self._flow.check()
        if self._sweeping.done():
            raise RuntimeError("nobody looks for journals any more")
        if self._embedded and not self._embedded.alive:
            raise RuntimeError("the embedded broker has ended")

    def _journal_state(self) -> str:
        with contextlib.suppress(OSError):  # no folder yet, or one that its actors complain of
            if short := no_room(journal_folder()):
                return f"{short}; pictures are not kept, rows are"
        return self._flow.journal

    def _message(self, topic: str, payload: bytes) -> bool:
        # Not acknowledged, a control message waits at the broker for the next Gateway (the embedded one goes with us).
        return not self._handing_over and self._flow.intake.message(topic, payload)


class ServeDetectors:
    """`flow.Detect` over a Serve handle."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle
        context = serve.get_replica_context()
        self._app = context.app_name
        self._info: DetectorInfo | None = None
        self._status = Probe(serve.status)

    async def detect(self, jpegs: list[bytes]) -> list[Observation | Unreadable]:
        """One answer per frame, in order."""
        answers: list[Observation | Unreadable] = await self._handle.detect.remote(jpegs)
        return answers

    async def replicas(self) -> int:
        """How many are running, as Serve's controller sees it."""
        status = await self._status.answer(REPLICAS_TIMEOUT_S)
        app = status.applications.get(self._app)
        deployment = app.deployments.get(self._handle.deployment_name) if app else None
        states: dict[Any, int] = dict(deployment.replica_states) if deployment else {}
        return states.get("RUNNING", 0)

    async def info(self) -> DetectorInfo | None:
        """What they run; asked once, since all run the same. None when nobody answers at once."""
        if self._info is None:
            try:
                self._info = await asyncio.wait_for(self._handle.info.remote(), INFO_TIMEOUT_S)
            except (RayError, TimeoutError):
                return None
        return self._info


class RayVehicles:
    """`flow.Vehicles` and `recovery.Actors` over named Ray actors.

    Args:
        config: What they are started with.
        started: Called when one was started.
    """

    def __init__(self, config: VehicleConfig, started: Callable[[], object]) -> None:
        self._config = config
        self._started = started
        self._node = ray.get_runtime_context().get_node_id()
        self._actors: dict[uuid.UUID, Any] = {}  # handles; Ray's types do not know an actor's methods

    async def push(self, vehicle: uuid.UUID, push: Push, after_part: int) -> PushReply:
        """Push to the vehicle's actor, which is started if there is none."""
        actor: Any = self._actors.get(vehicle)
        if actor is None:
            actor = await asyncio.to_thread(start_vehicle, vehicle, self._config, HOME)
            self._actors[vehicle] = actor
            self._started()
        try:
            reply: PushReply = await actor.push.remote(push.trip, push.frames, push.closed_by, after_part)
        except Exception:
            self._actors.pop(vehicle, None)  # it may have ended, or be about to: the next call finds or starts another
            raise
        if push.closed_by:
            self._actors.pop(vehicle, None)
        return reply

    async def status(self, vehicle: uuid.UUID) -> VehicleStatus | None:
        """A look at it; None when it is not there (yet)."""
        actor = self._actors.get(vehicle)
        if actor is None:
            return None
        try:
            status: VehicleStatus = await asyncio.wait_for(actor.status.remote(), INFO_TIMEOUT_S)
        except (RayError, TimeoutError):
            return None
        return status

    async def flushes(self, open_trips: Callable[[], set[uuid.UUID]]) -> list[FlushInfo]:
        """What is closed and not stored yet: as the actors say, and where none answers, as the journals are named.

        Args:
            open_trips: Those that are open, and so not among them.
        """
        answered: set[uuid.UUID] = set()

        async def look(vehicle: uuid.UUID) -> list[FlushInfo]:
            try:
                status = await self._look(vehicle, lambda actor: actor.status.remote(), INFO_TIMEOUT_S)
            except (LookupError, TimeoutError):
                return []
            answered.add(vehicle)
            return [FlushInfo(flush, status.node, status.pid) for flush in status.flushes]

        # The journals first: one whose flush ends meanwhile is with an actor that answers.
        journals = await self.journals(INFO_TIMEOUT_S)
        found = await asyncio.gather(*(look(vehicle) for vehicle in await self.living()))
        still_open = open_trips()
        silent = [
            FlushInfo(FlushStatus(vehicle, trip, part, object_name=""), node, pid=None)
            for node, parts in journals.items()
            for vehicle, trip, part in sorted(parts)
            if vehicle not in answered and trip not in still_open
        ]
        return [*(flush for flushes in found for flush in flushes), *silent]

    async def alive(self) -> int:
        """How many are there, flushes under way included."""
        return len(await self.living())

    async def living(self) -> set[uuid.UUID]:
        """See `Actors.living`."""
        named = await asyncio.to_thread(ray.util.list_named_actors, all_namespaces=True)
        prefix = actor_name("")
        ours = [one["name"] for one in named if one["namespace"] == NAMESPACE and one["name"].startswith(prefix)]
        return {uuid.UUID(name.removeprefix(prefix)) for name in ours}

    async def standing(self, vehicle: uuid.UUID, timeout_s: float) -> VehicleStatus:
        """See `Actors.standing`."""
        return await self._look(vehicle, lambda actor: actor.standing.remote(), timeout_s)

    async def _look(self, vehicle: uuid.UUID, ask: Callable[[Any], Awaitable[Any]], timeout_s: float) -> VehicleStatus:
        try:
            actor: Any = await asyncio.to_thread(ray.get_actor, actor_name(vehicle), NAMESPACE)
            status: VehicleStatus = await asyncio.wait_for(ask(actor), timeout_s)
        except ActorUnavailableError as error:
            raise TimeoutError(one_line(error)) from error
        except (ValueError, RayActorError) as error:
            raise LookupError(f"vehicle {vehicle} has no actor") from error
        return status

    async def finish_left_behind(self, vehicle: uuid.UUID, node: str | None, trip: Trip | None = None) -> None:
        """See `Actors.finish_left_behind`."""
        start = partial(start_vehicle, vehicle, self._config, HOME, near_node=node)
        actor: Any = await asyncio.to_thread(start)
        await actor.finish_left_behind.remote(trip)

    async def journals(self, timeout_s: float) -> dict[str, dict[Part, int]]:
        """See `Actors.journals`."""
        nodes = [node["NodeID"] for node in await asyncio.to_thread(ray.nodes) if node["Alive"]]
        found = await asyncio.gather(*(self._journals_on(node, timeout_s) for node in nodes))
        return dict(zip(nodes, found, strict=True))

    async def _journals_on(self, node: str, timeout_s: float) -> dict[Part, int]:
        if node == self._node:
            return await asyncio.to_thread(_journals_here)
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        look: Any = _JOURNALS_THERE.options(scheduling_strategy=there)
        try:
            found: dict[Part, int] = await asyncio.wait_for(look.remote(), timeout_s)
        except (RayError, TimeoutError) as error:
            _log.warning("node %s does not say what journals it has: %s", node, one_line(error))
            return {}
        return found


def _journals_here() -> dict[Part, int]:
    return parts_with_journals(journal_folder())


_JOURNALS_THERE: Any = ray.remote(num_cpus=0, max_retries=0)(_journals_here)
