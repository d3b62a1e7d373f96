"""The flow of frames over fakes of its ports, on a real event loop."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import itertools
import json
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError

from actors.journal_records import Progress
from actors.records import event_uuid
from actors.vehicle import PushReply
from actors.vehicle_actor import VehicleStatus
from models.jpeg import FrameLimits
from models.types import Observation, Trip, Unreadable
from serve_app import flow as flow_module
from serve_app import gateway_metrics as gateway_metrics_module
from serve_app.export import Exporter, Readings
from serve_app.flow import ALERT_INTERVAL_S, HEARTBEAT_S, SEQ_GAP, Flow, FlowConfig
from serve_app.flush_tallies import FlushTallies
from serve_app.gateway_metrics import GatewayMetrics
from serve_app.metrics import METRICS, Buckets
from serve_app.recovery import Part
from serve_app.scheduler import Dropped, Item, Push
from tests.builders import CLOSED, TINY_JPEG, make_event, observation, trip, vehicle_id
from tests.fakes.clock import FakeClock
from tests.fakes.flow import FakeBroker, FakeDetectors, FakeNotes, FakeVehicles
from tests.fakes.metrics import FakeKept, FakeSeries
from tests.waiting import until

A, B = vehicle_id(1), vehicle_id(2)


def jpeg(number: int) -> bytes:
    """A frame that can be told from others."""
    return TINY_JPEG + f"#{number}".encode()


class World:
    """A flow and the fakes around it; made on the loop."""

    def __init__(self, clock: FakeClock, folder: Path, *, mailbox_frames: int = 500) -> None:
        self.clock = clock
        self.detectors = FakeDetectors()
        self.vehicles = FakeVehicles(folder)
        self.notes = FakeNotes()
        self.broker = FakeBroker()
        self.registered: list[uuid.UUID] = []
        self.crashed: list[Dropped] = []
        self.flow = Flow(
            FlowConfig(
                limits=FrameLimits(max_bytes=2**20, max_pixels=2**24),
                max_vehicles=100,
                mailbox_frames=mailbox_frames,
                max_batch_size=8,
                batches_per_replica=2,
                idle_timeout_s=30.0,
            ),
            detectors=self.detectors,
            vehicles=self.vehicles,
            broker=self.broker,
            register=self.registered.append,
            notes=self.notes,
            keep_crashed=self.crashed.append,
            loop=asyncio.get_running_loop(),
        )

    def open(self, vehicle: object = A) -> None:
        """As a device says it."""
        self.flow.intake.message("open_stream", str(vehicle).encode())

    def frame(self, number: int, vehicle: object = A) -> None:
        """Frame `number`, whatever its `seq` will be."""
        self.flow.intake.message(f"stream/{vehicle}", jpeg(number))

    def close(self, vehicle: object = A) -> None:
        """As a device says it."""
        self.flow.intake.message("close_stream", str(vehicle).encode())

    def seqs(self, vehicle: uuid.UUID = A) -> list[int]:
        """The frames that the vehicle has heard of."""
        return [seen.frame.seq for v, push in self.vehicles.pushes if v == vehicle for seen in push.frames]

    def ended(self, vehicle: uuid.UUID = A) -> list[object]:
        """Who ended its trips."""
        return [push.closed_by for v, push in self.vehicles.pushes if v == vehicle and push.closed_by]

    def alerts(self) -> list[tuple[str, bytes | str, int]]:
        """What was published."""
        return [message for message in self.broker.published if message[0].startswith("alert/")]


Run = Callable[[Callable[[World], Awaitable[None]]], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The flow's clock; its pauses are a millisecond, so that no test waits for them."""
    fake = FakeClock()
    monkeypatch.setattr(flow_module, "time", SimpleNamespace(monotonic=fake, time=time.time))
    monkeypatch.setattr(flow_module, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(flow_module, "LONGEST_RETRY_S", 0.002)
    monkeypatch.setattr(flow_module, "TICK_S", 0.001)
    monkeypatch.setattr(flow_module, "REPLICAS_TIMEOUT_S", 0.005)
    return fake


@pytest.fixture
def run(clock: FakeClock, tmp_path: Path) -> Run:
    def run_story(story: Callable[[World], Awaitable[None]]) -> None:
        async def whole() -> None:
            world = World(clock, tmp_path)
            await story(world)
            world.flow.check()

        asyncio.run(whole())

    return run_story


async def settle() -> None:
    """Let everything happen that can happen now."""
    for _ in range(30):
        await asyncio.sleep(0)


def test_a_frame_goes_from_the_broker_to_its_vehicle(run: Run) -> None:
    async def story(w: World) -> None:
        w.open()
        for number in range(20):
            w.frame(number)
        w.close()
        await until(w.ended)
        assert w.seqs() == list(range(20))
        assert w.ended() == ["device"]
        assert w.registered == [A]
        assert w.broker.published == [(f"base64/{A}", base64.b64encode(jpeg(n)), 0) for n in range(20)]

    run(story)


def test_frames_are_relayed_before_detection_and_without_it(run: Run) -> None:
    async def story(w: World) -> None:
        w.detectors.free.clear()
        w.open()
        w.frame(0)
        assert w.broker.topics("base64") == [f"base64/{A}"], "at once, on the thread that received it"
        await settle()
        assert w.seqs() == []
        w.detectors.free.set()
        await until(w.seqs)

    run(story)


def test_frames_that_come_while_the_actor_starts_belong_to_the_trip(run: Run) -> None:
    async def story(w: World) -> None:
        w.vehicles.free.clear()
        w.open()
        for number in range(10):
            w.frame(number)
        w.close()
        await settle()
        w.vehicles.free.set()
        await until(w.ended)
        assert w.seqs() == list(range(10))

    run(story)


def test_messages_from_another_thread_keep_their_order(run: Run) -> None:
    async def story(w: World) -> None:
        def receive() -> None:
            for _ in range(5):
                w.open()
                for number in range(30):
                    w.frame(number)
                w.close()

        thread = threading.Thread(target=receive)
        thread.start()
        await until(lambda: len(w.ended()) == 5)
        thread.join()
        assert w.seqs() == list(range(30)) * 5

    run(story)


def test_an_alert_is_said_at_once_and_then_every_ten_seconds(run: Run) -> None:
    async def story(w: World) -> None:
        w.detectors.see = lambda _jpeg: observation("phone")
        w.open()
        said_at_s: list[int] = []
        for second in range(25):
            w.frame(second)
            await until(lambda second=second: len(w.seqs()) == second + 1)  # type: ignore[misc]
            await settle()
            said_at_s += [second] * (len(w.alerts()) - len(said_at_s))
            w.clock.advance(1.0)
        assert said_at_s == [0, ALERT_INTERVAL_S, 2 * ALERT_INTERVAL_S]
        assert w.alerts() == [(f"alert/{A}", "phone", 1)] * 3

    run(story)


def test_each_text_has_its_own_ten_seconds_and_each_vehicle(run: Run) -> None:
    async def story(w: World) -> None:
        labels: dict[bytes, Observation] = {jpeg(0): observation("phone"), jpeg(1): observation("phone", "vape")}
        w.detectors.see = lambda data: labels[data]
        for vehicle in (A, B):
            w.open(vehicle)
            for number in range(2):
                w.frame(number, vehicle)
                await until(lambda n=number, v=vehicle: len(w.seqs(v)) == n + 1)  # type: ignore[misc]
        await settle()
        assert w.alerts() == [(f"alert/{v}", text, 1) for v in (A, B) for text in ("phone", "vape")]

    run(story)


def test_a_new_trip_does_not_repeat_a_text_within_ten_seconds(run: Run) -> None:
    async def story(w: World) -> None:
        w.detectors.see = lambda _jpeg: observation("phone")
        for trips in (1, 2):
            w.open()
            w.frame(0)
            w.close()
            await until(lambda trips=trips: len(w.ended()) == trips)  # type: ignore[misc]
            await settle()
        assert len(w.alerts()) == 1
        w.clock.advance(ALERT_INTERVAL_S)
        w.open()
        w.frame(0)
        w.close()
        await until(lambda: len(w.alerts()) == 2)

    run(story)


def test_the_last_frames_of_a_trip_alert_too(run: Run) -> None:
    async def story(w: World) -> None:
        w.detectors.see = lambda data: observation("cigarette") if data == jpeg(1) else Observation()
        w.open()
        w.frame(0)
        w.frame(1)
        w.close()
        await until(w.ended)
        await settle()
        assert w.alerts() == [(f"alert/{A}", "cigarette", 1)]

    run(story)


def test_events_are_said_to_the_text_that_the_device_wrote(run: Run) -> None:
    async def story(w: World) -> None:
        text = f"{{{str(A).upper()}}}"
        begun = make_event(trip(1))
        w.open(A)
        await until(lambda: w.vehicles.pushes)
        w.vehicles.events = [begun]
        w.frame(0, text)
        await until(lambda: not w.vehicles.events)
        w.vehicles.events = [dataclasses.replace(begun, ended_ms=begun.started_ms + 1600)]
        w.close()
        await until(w.ended)
        await settle()
        said = [(topic, json.loads(payload), qos) for topic, payload, qos in w.broker.published if "event/" in topic]
        assert [(topic, qos) for topic, _, qos in said] == [(f"event/{text}", 1)] * 2, "the last without a frame"
        assert said[0][1] == {
            "id": str(begun.uuid),
            "trip": str(trip(1).id),
            "vehicle": str(A),
            "kind": "microsleep",
            "severity": "high",
            "started_at": "2025-12-31T23:59:59.750Z",
            "ended_at": None,
            "peak": {"eyes_closed_s": 1.6},
            "coverage": 0.9,
            "policy": "default@2",
            "models": "weights-0a1b2c3d landmarker-478",
            "video": None,
            "offset_s": None,
        }
        assert said[1][1]["ended_at"] == "2026-01-01T00:00:01.350Z"

    run(story)


def test_an_alert_goes_to_the_text_that_the_device_wrote(run: Run) -> None:
    async def story(w: World) -> None:
        w.detectors.see = lambda _jpeg: observation("bottle")
        w.open(A)
        text = f"{{{str(A).upper()}}}"
        w.frame(0, text)
        await until(w.alerts)
        assert w.alerts() == [(f"alert/{text}", "bottle", 1)]

    run(story)


def test_a_push_that_fails_is_repeated_until_it_is_answered(run: Run) -> None:
    async def story(w: World) -> None:
        w.vehicles.failures = [RayActorError(), OSError("away"), TimeoutError()] * 3
        w.detectors.see = lambda _jpeg: observation("phone")
        w.open()
        w.frame(0)
        w.close()
        await until(w.ended)
        assert w.seqs() == [0]
        await settle()
        assert len(w.alerts()) == 1

    run(story)


def test_a_detection_that_fails_is_repeated_with_the_same_frames(run: Run) -> None:
    async def story(w: World) -> None:
        w.detectors.failures = [RayActorError(), OSError("away"), TimeoutError()]
        w.open()
        for number in range(3):
            w.frame(number)
        w.close()
        await until(w.ended)
        assert w.seqs() == [0, 1, 2]
        assert w.flow.intake.refused == {}

    run(story)


def test_a_short_outage_of_the_detectors_costs_no_frame(run: Run) -> None:
    # Replicas survive, calls are refused at once: no frame is to blame.
    async def story(w: World) -> None:
        w.detectors.failures = [OSError("no replica takes calls now") for _ in range(40)]
        w.open()
        for number in range(3):
            w.frame(number)
        w.close()
        await until(w.ended)
        assert w.flow.intake.refused == {}
        assert w.seqs() == [0, 1, 2]

    run(story)


async def frame_1_is_given_up_and_no_other(w: World) -> None:
    """Two vehicles drive, and frame 1 of the first is more than the Detectors can take."""
    w.open()
    w.open(B)
    for number in range(4):
        w.frame(number)
        w.frame(100 + number, B)
    w.close()
    w.close(B)
    await until(lambda: w.ended() and w.ended(B))
    assert w.seqs() == [0, 2, 3]
    assert w.seqs(B) == [0, 1, 2, 3]
    assert w.flow.intake.refused == {"crashed": 1}
    await until(lambda: w.crashed)
    assert [(one.trip.vehicle, one.frame.seq, one.frame.jpeg) for one in w.crashed] == [(A, 1, jpeg(1))]


def test_a_frame_on_which_the_detectors_hang_is_dropped_and_holds_up_no_other(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_module, "DETECT_TIMEOUT_S", 0.01)

    async def story(w: World) -> None:
        whole = w.detectors.detect

        async def detect(jpegs: list[bytes]) -> list[Observation | Unreadable]:
            if jpeg(1) in jpegs:
                await asyncio.Event().wait()
            return await whole(jpegs)

        w.detectors.detect = detect  # type: ignore[method-assign]
        w.flow.start()
        await until(lambda: w.flow.detector_replicas)
        await frame_1_is_given_up_and_no_other(w)

    run(story)


def test_a_call_that_waits_for_a_detector_to_start_costs_no_frame(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_module, "DETECT_TIMEOUT_S", 0.001)

    async def story(w: World) -> None:
        w.detectors.running = 0
        w.detectors.free.clear()
        w.open()
        w.frame(0)
        w.close()
        await until(lambda: len(w.detectors.calls) > 20)
        w.detectors.free.set()
        await until(w.ended)
        assert w.seqs() == [0]

    run(story)


@pytest.mark.parametrize("death", [OutOfMemoryError("killed"), NodeDiedError("gone"), RayActorError()])  # type: ignore[no-untyped-call]
def test_a_frame_that_kills_detectors_in_any_way_is_isolated(run: Run, death: Exception) -> None:
    async def story(w: World) -> None:
        whole = w.detectors.detect

        async def detect(jpegs: list[bytes]) -> list[Observation | Unreadable]:
            if jpeg(1) in jpegs:
                w.detectors.failures.append(death)
            return await whole(jpegs)

        w.detectors.detect = detect  # type: ignore[method-assign]
        await frame_1_is_given_up_and_no_other(w)
        assert sum(jpegs == [jpeg(1)] for jpegs in w.detectors.calls) == 2, "alone it may kill twice"

    run(story)


def test_a_slow_disk_for_frames_that_crashed_holds_up_no_other_frame(run: Run) -> None:
    async def story(w: World) -> None:
        disk = threading.Event()

        def keep(one: Dropped) -> None:
            disk.wait(10)
            w.crashed.append(one)

        w.flow._keep_crashed = keep  # noqa: SLF001 - the same port, slower
        w.detectors.failures = [RayActorError(), RayActorError()]
        w.open()
        w.frame(0)
        await until(lambda: w.flow.intake.refused == {"crashed": 1})
        w.frame(1)
        w.close()
        await until(w.ended)
        assert w.seqs() == [1]
        assert w.crashed == []
        disk.set()
        await until(lambda: w.crashed)

    run(story)


def test_too_few_answers_are_a_failure_and_no_mix_up(run: Run) -> None:
    async def story(w: World) -> None:
        whole = w.detectors.detect

        async def detect(jpegs: list[bytes]) -> list[Observation | Unreadable]:
            answers = await whole(jpegs)
            return answers[1:] if len(w.detectors.calls) == 1 else answers

        w.detectors.detect = detect  # type: ignore[method-assign]
        w.open()
        w.frame(0)
        w.close()
        await until(w.ended)
        assert w.seqs() == [0]

    run(story)


def test_dropped_frames_are_counted_by_reason(run: Run) -> None:
    async def story(w: World) -> None:
        w.detectors.see = lambda data: Unreadable("cut") if data == jpeg(1) else Observation()
        w.open()
        for number in range(3):
            w.frame(number)
        await until(lambda: len(w.seqs()) == 2)
        assert w.seqs() == [0, 2]
        assert w.crashed == []
        [info] = await w.flow.streams()
        assert info.dropped == {"unreadable": 1}
        assert info.frames == 3

    run(story)


def test_a_full_mailbox_drops_the_oldest_and_says_so(clock: FakeClock, tmp_path: Path) -> None:
    async def whole() -> None:
        w = World(clock, tmp_path, mailbox_frames=5)
        w.detectors.free.clear()
        w.open()
        w.frame(0)
        await settle()
        for number in range(1, 21):
            w.frame(number)
        w.close()
        await settle()
        assert w.flow.intake.refused == {"mailbox_full": 15}
        assert len(w.broker.topics("base64")) == 21
        w.detectors.free.set()
        await until(w.ended)
        assert w.seqs() == [0, 16, 17, 18, 19, 20]

    asyncio.run(whole())


def test_batches_in_flight_follow_the_number_of_detectors(run: Run) -> None:
    async def story(w: World) -> None:
        w.detectors.free.clear()
        for number in range(10):
            w.open(vehicle_id(number))
            w.frame(0, vehicle_id(number))
            await settle()
        assert len(w.detectors.calls) == 2, "batches_per_replica, of the one that there must be at least"
        w.detectors.running = 3
        w.flow.start()
        await until(lambda: len(w.detectors.calls) >= 3)
        assert w.flow.detector_replicas == 3
        w.detectors.free.set()
        await until(lambda: len({vehicle for vehicle, push in w.vehicles.pushes if push.frames}) == 10)

    run(story)


def heartbeats(w: World) -> list[Trip]:
    return [push.trip for _, push in w.vehicles.pushes if not push.frames and not push.closed_by]


def test_an_open_trip_without_frames_is_pushed_to(run: Run) -> None:
    async def story(w: World) -> None:
        w.open()
        await until(lambda: len(heartbeats(w)) == 1)  # its start
        w.flow.start()
        await settle()
        assert len(heartbeats(w)) == 1
        for beats in (2, 3):
            w.clock.advance(HEARTBEAT_S)
            await until(lambda beats=beats: len(heartbeats(w)) == beats)  # type: ignore[misc]
        w.close()
        await until(w.ended)
        before = len(w.vehicles.pushes)
        w.clock.advance(HEARTBEAT_S)
        await asyncio.sleep(0.01)
        assert len(w.vehicles.pushes) == before, "a trip that has ended has no heart"

    run(story)


def test_the_heart_beats_while_the_detectors_are_away(run: Run) -> None:
    # Else the actor takes the Gateway for dead, closes the trip, and the rest of the trip is lost.
    async def story(w: World) -> None:
        w.open()
        await until(lambda: heartbeats(w))
        w.detectors.free.clear()
        for number in range(40):
            w.frame(number)
        w.flow.start()
        for beats in (2, 3, 4):
            w.clock.advance(HEARTBEAT_S)
            await until(lambda beats=beats: len(heartbeats(w)) >= beats)  # type: ignore[misc]
        w.detectors.free.set()
        w.close()
        await until(w.ended)
        assert w.seqs() == list(range(40))

    run(story)


def test_a_heartbeat_never_overtakes_the_end_of_a_trip(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_module, "HEARTBEAT_S", 0.0)
    monkeypatch.setattr(flow_module, "TICK_S", 0.0)

    async def story(w: World) -> None:
        w.flow.start()
        for _ in range(20):
            w.open()
            w.frame(0)
            await settle()
            w.frame(1)
            w.close()
            w.open()
            w.frame(0)
            await settle()
            w.close()
            await settle()
        await until(lambda: len(w.ended()) == 40)
        trips = [push.trip.id for _, push in w.vehicles.pushes]
        changes = 1 + sum(one != other for one, other in itertools.pairwise(trips))
        assert changes == len(set(trips)), "trips are mixed: the actor closes one for the other and forgets its frames"

    run(story)


def test_an_idle_trip_ends_by_the_clock(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(w: World) -> None:
        w.open()
        w.frame(0)
        await until(w.seqs)
        monkeypatch.setattr(w.flow.intake, "_monotonic", lambda: time.monotonic() + 31.0)
        w.flow.start()
        await until(w.ended)
        assert w.ended() == ["idle"]
        assert await w.flow.stream(A) is None

    run(story)


@pytest.mark.parametrize("error", [RayActorError(), OSError("away"), TimeoutError(), RuntimeError("no Serve")])
def test_the_clock_goes_on_when_nobody_knows_the_number_of_detectors(error: Exception, run: Run) -> None:
    async def story(w: World) -> None:
        w.flow.start()
        await until(lambda: w.flow.detector_replicas == 1)

        async def unknown() -> int:
            raise error

        w.detectors.replicas = unknown  # type: ignore[method-assign]
        await asyncio.sleep(0.005)
        w.flow.check()  # idle trips and heartbeats have nothing to do with it
        assert w.flow.detector_replicas == 1, "the last number stays"

    run(story)


def test_the_clock_goes_on_while_nobody_answers_how_many_detectors_there_are(run: Run) -> None:
    async def story(w: World) -> None:
        async def never() -> int:
            await asyncio.Event().wait()
            return 0

        w.detectors.replicas = never  # type: ignore[method-assign]
        w.open()
        await until(lambda: heartbeats(w))
        w.flow.start()
        for beats in (2, 3):
            w.clock.advance(HEARTBEAT_S)
            await until(lambda beats=beats: len(heartbeats(w)) == beats)  # type: ignore[misc]

    run(story)


def test_a_stream_shows_what_is_known_of_it(run: Run) -> None:
    async def story(w: World) -> None:
        w.vehicles.free.clear()
        w.open(B)
        w.open(A)
        [other, early] = await w.flow.streams()
        assert (other.trip.vehicle, early.trip.vehicle) == (B, A), "oldest first"
        assert (early.driver_state, early.node, early.pid, early.flagged) == ("starting", None, None, 0)

        w.vehicles.free.set()
        w.detectors.see = lambda _jpeg: observation("phone", **CLOSED)
        w.frame(0)
        await until(w.seqs)
        await settle()
        info = await w.flow.stream(A)
        assert info is not None
        assert (info.frames, info.flagged, info.backlog) == (1, 1, 0)
        assert (info.driver_state, info.node, info.pid) == ("eyes closed", "a node", 4711)

        w.detectors.free.clear()
        for number in range(8):
            w.frame(number)
            await settle()
        info = await w.flow.stream(A)
        assert info is not None
        assert info.backlog == 7, "one is being detected"
        w.detectors.free.set()

    run(story)


def test_a_stream_is_gone_from_its_close_on(run: Run) -> None:
    async def story(w: World) -> None:
        w.vehicles.free.clear()
        w.open()
        w.close()
        assert await w.flow.stream(A) is None
        assert await w.flow.streams() == []
        w.vehicles.free.set()
        await until(w.ended)

    run(story)


def test_a_stream_that_ends_while_one_looks_does_not_matter(run: Run) -> None:
    async def story(w: World) -> None:
        w.open(A)
        w.open(B)
        await settle()
        looking = asyncio.get_running_loop().create_task(w.flow.streams())
        await asyncio.sleep(0)
        w.close(A)
        assert B in {info.trip.vehicle for info in await looking}

    run(story)


def test_drain_ends_every_trip_and_waits_for_its_flush(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_module, "time", time)

    async def story(w: World) -> None:
        w.vehicles.flushing = 1
        for vehicle in (A, B):
            w.open(vehicle)
            w.frame(0, vehicle)
        drain = asyncio.get_running_loop().create_task(w.flow.drain(10.0))
        await until(lambda: w.ended(A) and w.ended(B))
        assert w.ended(A) == ["shutdown"]
        assert w.seqs(A) == w.seqs(B) == [0], "frames that were taken are looked at"
        w.frame(1)
        assert not drain.done()
        w.vehicles.flushing = 0
        assert await asyncio.wait_for(drain, 2.0) == 0
        assert w.flow.intake.refused == {"not_open": 1}

    run(story)


def test_drain_gives_up_after_its_time_and_says_what_is_left(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_module, "time", time)

    async def story(w: World) -> None:
        w.vehicles.flushing = 3
        assert await w.flow.drain(0.01) == 3

    run(story)


def test_drain_counts_a_trip_that_has_no_actor_yet(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_module, "time", time)

    async def story(w: World) -> None:
        w.vehicles.free.clear()
        w.open()
        w.frame(0)
        assert await w.flow.drain(0.01) > 0, "its frames are in the mailbox: that is no clean end"
        w.vehicles.free.set()

    run(story)


def test_a_fault_of_ours_is_seen_by_the_health_check(clock: FakeClock, tmp_path: Path) -> None:
    async def whole() -> None:
        w = World(clock, tmp_path)
        w.flow.check()

        def broken(*_: object, **__: object) -> None:
            raise ValueError("a fault of ours")

        w.broker.publish = broken  # type: ignore[method-assign]
        w.detectors.see = lambda _jpeg: observation("phone")
        w.flow.intake._relay = lambda _topic, _payload: True  # noqa: SLF001 - only alerts are to fail
        w.open()
        w.frame(0)
        await until(w.seqs)
        await settle()
        with pytest.raises(RuntimeError, match="flow"):
            w.flow.check()

    asyncio.run(whole())


def test_nothing_is_left_of_trips_that_ended(run: Run) -> None:
    async def story(w: World) -> None:
        vehicles: Iterable[uuid.UUID] = [vehicle_id(number) for number in range(20)]
        for vehicle in vehicles:
            w.open(vehicle)
            w.frame(0, vehicle)
            w.close(vehicle)
        await until(lambda: all(w.ended(vehicle) for vehicle in vehicles))
        await settle()
        assert await w.flow.streams() == []
        assert not w.flow._scheduler.vehicles  # noqa: SLF001 - its memory is the story
        assert w.flow._replies == {}  # noqa: SLF001

    run(story)


def test_a_trip_of_another_gateway_goes_on_with_numbers_of_its_own(run: Run) -> None:
    async def story(w: World) -> None:
        progress = Progress(next_seq=40, frames=38, flagged=5, texts=("phone",))
        w.flow.adopt(VehicleStatus(trip(1), progress, 3, 12.5, (), "a node", 4711))
        w.flow.adopt(VehicleStatus(None, Progress(), 0, 0.0, (), "a node", 4712))
        assert w.alerts() == [(f"alert/{A}", "phone", 1)], "its answer may have been lost"
        w.open()  # its device says it again: no effect
        w.frame(0)
        await until(w.seqs)
        assert w.seqs() == [40 + SEQ_GAP]
        [seen] = [seen for _, push in w.vehicles.pushes for seen in push.frames]
        assert seen.frame.captured_s == pytest.approx(12.5, abs=0.1)
        [info] = await w.flow.streams()
        assert (info.trip, info.frames) == (trip(1), 39)
        w.close()
        await until(w.ended)

    run(story)


def test_a_vehicle_whose_open_stream_was_only_acknowledged_is_seen(run: Run) -> None:
    async def story(w: World) -> None:
        w.flow.reopen(A)
        assert w.flow.has(A)
        w.frame(0)
        await until(w.seqs)
        assert w.flow.open_trips == {w.vehicles.pushes[0][1].trip.id}

    run(story)


def test_open_trips_are_noted_until_their_actor_knows_their_end(run: Run) -> None:
    async def story(w: World) -> None:
        w.vehicles.free.clear()
        w.open()
        assert [noted.vehicle for noted in w.notes.open] == [A]
        w.close()
        await settle()
        assert len(w.notes.open) == 1
        w.vehicles.free.set()
        await until(lambda: not w.notes.open)

    run(story)


def test_handing_over_brings_the_mailboxes_to_the_actors_and_leaves_the_trips_open(run: Run) -> None:
    async def story(w: World) -> None:
        w.detectors.free.clear()
        w.open()
        for number in range(30):
            w.frame(number)
        handing_over = asyncio.create_task(w.flow.hand_over(10.0))
        await settle()
        assert not handing_over.done()
        w.detectors.free.set()
        await handing_over
        assert w.seqs() == list(range(30))
        assert w.ended() == []

    run(story)


def test_a_loop_that_stands_still_is_handed_so_many_frames_and_no_more(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_module, "HANDED_ON", 10)

    async def story(w: World) -> None:
        w.open()
        for number in range(25):  # all of them before the loop moves
            w.frame(number)
        w.close()
        await until(w.ended)
        assert w.seqs() == list(range(9)), "the opening is one of the ten"
        assert w.flow.intake.refused == {"mailbox_full": 16}
        assert len(w.broker.topics("base64")) == 25, "they are relayed all the same"

    run(story)


def test_a_fault_between_the_mqtt_thread_and_the_mailboxes_is_seen_by_the_health_check_and_costs_no_other_frame(
    clock: FakeClock, tmp_path: Path
) -> None:
    async def whole() -> None:
        w = World(clock, tmp_path)
        offer = w.flow._scheduler.offer  # noqa: SLF001 - nothing else can

        def broken(item: Item) -> list[Dropped]:
            if item.frame and item.frame.seq == 1:
                raise ValueError("a fault of ours")
            return offer(item)

        w.flow._scheduler.offer = broken  # type: ignore[method-assign]  # noqa: SLF001
        w.open()
        for number in range(4):
            w.frame(number)
        await until(lambda: w.seqs() == [0, 2, 3])
        with pytest.raises(RuntimeError, match="flow"):
            w.flow.check()

    asyncio.run(whole())


def test_a_batch_that_hangs_holds_up_no_other(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_module, "TICK_S", 0.01)

    async def story(w: World) -> None:
        w.detectors.free.clear()
        for vehicle in (A, B):
            w.open(vehicle)
        w.frame(0, A)
        await until(lambda: len(w.detectors.calls) == 1)
        w.frame(0, B)
        await settle()
        assert len(w.detectors.calls) == 1, "it might grow"
        w.clock.now_s += flow_module.GROW_S
        w.frame(1, B)
        await until(lambda: len(w.detectors.calls) == 2)
        w.detectors.free.set()

    run(story)


def test_pictures_that_were_not_kept_are_counted_and_said(run: Run) -> None:
    async def story(w: World) -> None:
        answer = w.vehicles.push

        async def full(vehicle: uuid.UUID, push: Push, after_part: int) -> PushReply:
            reply = await answer(vehicle, push, after_part)
            return dataclasses.replace(reply, not_kept=len(push.frames), journal="disk full: 1 MB")

        w.vehicles.push = full  # type: ignore[method-assign]
        assert w.flow.journal == "ok"
        w.open()
        for number in range(3):
            w.frame(number)
        await until(lambda: w.flow.intake.refused)
        await until(lambda: w.flow.intake.refused == {"disk_full": 3})
        assert w.flow.journal == "disk full: 1 MB (1 of 1 open trips)"

    run(story)


def test_an_actor_that_knows_nothing_of_a_trip_is_told_its_last_part(run: Run) -> None:
    async def story(w: World) -> None:
        answer, parts = w.vehicles.push, []

        async def told(vehicle: uuid.UUID, push: Push, after_part: int) -> PushReply:
            parts.append(after_part)
            return dataclasses.replace(await answer(vehicle, push, after_part), part=4)

        w.vehicles.push = told  # type: ignore[method-assign]
        w.open()
        await until(lambda: len(parts) == 1)
        w.frame(0)
        await until(lambda: len(parts) == 2)
        w.close()
        w.open()
        await until(lambda: len(parts) == 4)
        assert parts == [0, 4, 4, 0], "the next trip has parts of its own"

    run(story)


def test_frames_that_came_after_the_end_of_their_trip_are_counted(run: Run) -> None:
    async def story(w: World) -> None:
        w.flow.adopt(VehicleStatus(trip(1), Progress(), 1, 0.0, (), "a node", 4711))
        await until(lambda: w.vehicles.pushes)
        closing = Push(trip(1), (), "device", "")  # of the Gateway before, still under way
        await w.vehicles.push(A, closing, 0)
        w.frame(0)
        await until(lambda: w.flow.intake.refused)
        assert w.flow.intake.refused == {"not_open": 1}
        assert trip(1).id not in w.flow.open_trips
        w.frame(1)
        await until(lambda: w.vehicles.pushes[-1][1].frames)
        pushed = w.vehicles.pushes[-1][1]
        assert pushed.trip.id in w.flow.open_trips, "its device goes on, in a trip of its own"
        assert [seen.frame.jpeg for seen in pushed.frames] == [jpeg(1)]

    run(story)


def test_a_drive_is_counted_where_it_passes(run: Run) -> None:
    async def story(w: World) -> None:
        metrics = gateway_metrics(w, FakeSeries())
        w.detectors.see = lambda _: observation("phone")
        w.vehicles.events = [make_event(trip()), make_event(trip(), uuid=event_uuid(trip().id, 2), ended_ms=1)]
        w.open()
        for number in range(12):
            w.frame(number)
        w.flow.intake.message(f"stream/{A}", b"no picture")
        w.close()
        await until(lambda: w.ended() and not w.flow.has(A))
        now = metrics.readings()
        frames = {("received",): 13, ("relayed",): 12, ("observed",): 12, ("flagged",): 12}
        assert now["dms_frames_total"] == frames
        assert now["dms_dropped_total"] == {("not_jpeg",): 1}
        assert now["dms_alerts_total"] == {("phone",): 1}
        assert {kind: number for kind, number in now["dms_events_total"].items() if number} == {("microsleep",): 1}
        assert count(now, "dms_stage_seconds", "observe") == 12
        assert count(now, "dms_stage_seconds", "detect") == count(now, "dms_batch_frames") == len(w.detectors.calls)
        assert count(now, "dms_stage_seconds", "push") == len(w.vehicles.pushes)
        assert (now["dms_open_streams"], now["dms_backlog_frames"]) == ({(): 0}, {(): 0})
        assert set(now) == set(METRICS)

    run(story)


def test_what_waits_is_counted_and_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_metrics_module, "EXPORT_S", 0.001)

    async def story(w: World) -> None:
        series = FakeSeries()
        exporting = asyncio.create_task(gateway_metrics(w, series).export_forever())
        w.detectors.free.clear()
        w.open()
        for number in range(40):
            w.frame(number)
        await until(lambda: w.flow.waiting[0] == 32)
        await until(lambda: series.has("dms_backlog_frames", 32))
        assert series["dms_backlog_bytes"] == sum(len(jpeg(number)) for number in range(8, 40))
        assert (series["dms_open_streams"], series["dms_broker_connected"]) == (1, 1)
        assert (series["dms_unstored_parts"], series["dms_journal_bytes"]) == (1, 7)
        w.detectors.free.set()
        w.close()
        await until(w.ended)
        exporting.cancel()

    run(story)


def gateway_metrics(w: World, series: FakeSeries) -> GatewayMetrics:
    """The metrics of a flow without a Ray; somewhere lies the journal of a trip that has ended."""

    async def journals() -> dict[str, dict[Part, int]]:
        return {"a node": {(B, trip(B).id, 1): 7}}

    return GatewayMetrics(
        w.flow,
        connected=lambda: True,
        journals=journals,
        tallies=FlushTallies(FakeKept()),
        exporter=Exporter(series.make, series.make),
    )


def count(now: Readings, name: str, *values: str) -> int:
    """Of a histogram."""
    reading = now[name][values]
    assert isinstance(reading, Buckets)
    return reading.up_to[-1]
