"""What a frame costs at each hop of the Gateway and of its vehicle, one after the other and alone.

    python -m benchmarks.hops

CPU microseconds a frame, of the code that the service runs; what a process has beyond that (in `make bench`) are
Ray's calls.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from pybase64 import b64encode

from actors.journal import Journal
from actors.vehicle import SeenFrame, Vehicle
from benchmarks.frames import jpegs
from benchmarks.stub import CALM, DRINKS
from models.jpeg import FrameLimits
from models.policy import Policy
from models.profiles import PROFILES
from models.types import Frame, Observation, Trip
from serve_app.adapters.mqtt import BrokerAddress, MqttConnection
from serve_app.intake import Intake
from serve_app.scheduler import Item, Scheduler
from serve_app.settings import load_settings
from serve_app.stores import vehicle_config
from tests.servers import HOST, mosquitto

FRAMES = 2000
AT_A_TIME = 100
"""Sent before the next are: what comes faster than it is taken costs otherwise."""
FPS = 10.0
PUSH_FRAMES = 2
"""As in a full batch of 16 for 8 vehicles."""
VEHICLES = 8
MAX_BATCH_SIZE = 16


def hops_us(frames: Sequence[bytes]) -> dict[str, float]:
    """CPU microseconds a frame, by hop; the journal's are what a flagged frame costs more than a calm one."""
    receive_us, both_us = _received_us(frames, relay=False), _received_us(frames, relay=True)
    calm_us, flagged_us = _vehicle_us(frames, CALM), _vehicle_us(frames, DRINKS)
    return {
        "receive": receive_us,
        "relay": both_us - receive_us,
        "checks": _intake_us(frames),
        "mailbox": _mailbox_us(frames),
        "policy": _policy_us(),
        "vehicle, with its policy": calm_us,
        "journal of a flagged frame": flagged_us - calm_us,
    }


def _received_us(frames: Sequence[bytes], *, relay: bool) -> float:
    """The MQTT thread of the Gateway's own connection, from the first frame to the last."""
    cpu_s: list[float] = []
    came = threading.Semaphore(0)

    def take(topic: str, payload: bytes) -> bool:
        cpu_s.append(time.thread_time())
        if relay:
            connection.relay(f"base64/{topic[7:]}", b64encode(payload))
        came.release()
        return True

    with mosquitto() as broker:
        connection = MqttConnection(BrokerAddress(HOST, broker.port, f"hops-{uuid.uuid4()}"), take)
        connection.start()
        sender = mqtt.Client(CallbackAPIVersion.VERSION2)
        sender.connect(HOST, broker.port)
        sender.loop_start()
        topic = f"stream/{uuid.uuid4()}"
        while not came.acquire(timeout=0.1):  # until it is subscribed
            sender.publish(topic, frames[0])
        while came.acquire(timeout=0.5):
            pass  # what was sent meanwhile
        cpu_s.clear()
        sent = cycle(frames)
        for _ in range(FRAMES // AT_A_TIME):
            for jpeg in islice(sent, AT_A_TIME):
                sender.publish(topic, jpeg)
            for _ in range(AT_A_TIME):
                if not came.acquire(timeout=10):
                    raise RuntimeError("the broker has lost frames")
        sender.disconnect()
        sender.loop_stop()
        connection.stop()
    return 1e6 * (cpu_s[-1] - cpu_s[0]) / (FRAMES - 1)


def _intake_us(frames: Sequence[bytes]) -> float:
    limits = FrameLimits(max_bytes=2**20, max_pixels=2**24)
    intake = Intake(limits=limits, max_vehicles=1, relay=lambda _topic, _payload: True, emit=lambda _: True)
    vehicle = str(uuid.uuid4())
    intake.message("open_stream", vehicle.encode())
    topic = f"stream/{vehicle}"
    relayed_us = _cpu_us(b64encode, frames)  # counts as relay
    return _cpu_us(lambda jpeg: intake.message(topic, jpeg), frames) - relayed_us


def _mailbox_us(frames: Sequence[bytes]) -> float:
    scheduler = Scheduler(mailbox_frames=150, max_batch_size=MAX_BATCH_SIZE)
    trips = [Trip(uuid.uuid4(), uuid.uuid4(), 0) for _ in range(VEHICLES)]

    def rounds(_jpeg: bytes) -> None:
        for trip in trips:
            for seq in range(PUSH_FRAMES):
                scheduler.offer(Item(trip, Frame(seq, 0.0, frames[0])))
        if batch := scheduler.next_batch():
            scheduler.observed(batch, [CALM] * len(batch.jpegs))
        for vehicle, _ in list(scheduler.pushes()):
            scheduler.pushed(vehicle)

    return _cpu_us(rounds, frames[:1], FRAMES // MAX_BATCH_SIZE) / MAX_BATCH_SIZE


def _policy_us() -> float:
    policy = Policy(PROFILES["default"])
    number = iter(range(FRAMES))
    return _cpu_us(lambda _: policy.step(CALM, next(number) / FPS), [b""])


def _vehicle_us(frames: Sequence[bytes], observation: Observation) -> float:
    trip = Trip(uuid.uuid4(), uuid.uuid4(), 0)
    number = iter(range(FRAMES))
    ended: list[Journal] = []
    with tempfile.TemporaryDirectory() as folder:
        vehicle = Vehicle(
            trip.vehicle, vehicle_config(load_settings({"DMS_ENV_FILE": os.devnull})), Path(folder), ended.append
        )

        def push(jpeg: bytes) -> None:
            pushed = [Frame(seq, seq / FPS, jpeg) for seq in islice(number, PUSH_FRAMES)]
            vehicle.push(trip, [SeenFrame(frame, observation) for frame in pushed])

        found = _cpu_us(push, frames, FRAMES // PUSH_FRAMES) / PUSH_FRAMES
        vehicle.push(trip, (), "device")
        for journal in ended:
            journal.remove()
    return found


def _cpu_us(take: Callable[[bytes], object], frames: Sequence[bytes], times: int = FRAMES) -> float:
    began_s = time.process_time()
    for jpeg in islice(cycle(frames), times):
        take(jpeg)
    return 1e6 * (time.process_time() - began_s) / times


def main() -> None:
    """Print a line each."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for hop, cost_us in hops_us(jpegs()).items():
        print(f"{hop}: {math.ceil(cost_us)} us")


if __name__ == "__main__":
    main()
