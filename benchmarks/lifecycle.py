"""How long a vehicle takes to be there and to be stored, and what it costs: beside a bare Ray actor.

    python -m benchmarks.lifecycle

From `open_stream` to the first alert, which the actor's answer to its first push carries, and from `close_stream` to
the row of its footage, a picture or two, in MariaDB; the Detector is a stub.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.frames import jpegs
from benchmarks.service import Measured, service
from benchmarks.stub import DRINK, STUB
from tests.waiting import eventually

IDLE_S = 5.0

_BARE = """
import sys, time, ray
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")

@ray.remote(num_cpus=0)
class Bare:
    def ready(self):
        return True

def start(count):
    began_s = time.perf_counter()
    actors = [Bare.remote() for _ in range(count)]
    ray.get([actor.ready.remote() for actor in actors])
    return time.perf_counter() - began_s, actors

before = start(4)  # takes the processes that Ray has made with itself
time.sleep(3)
print("seconds", start(int(sys.argv[1]))[0])
"""


def bare_actors_s(count: int) -> float:
    """Seconds until so many actors without any code, asked for at once, have all answered, in a Ray as it comes."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    answer = subprocess.run(
        [sys.executable, "-c", _BARE, str(count)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env={**clean, "RAY_AUTH_MODE": "disabled"},
    )
    return float(answer.stdout.rpartition("seconds ")[2].split()[0])


def open_and_close_s(measured: Measured, count: int, jpeg: bytes) -> tuple[float, float]:
    """Of so many vehicles that open at once, and then close at once.

    Returns:
        Seconds until all have had their first push answered, and seconds from their ends until all are stored.
    """
    measured.settle()
    waiting = {str(uuid.uuid4()) for _ in range(count)}
    vehicles = sorted(waiting)
    done = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    ready = threading.Event()

    def heard(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        waiting.discard(message.topic.partition("/")[2])
        if not waiting:
            done.set()

    client.on_message = heard
    client.on_subscribe = lambda *_: ready.set()
    client.connect("127.0.0.1", measured.broker_port)
    client.subscribe("alert/#", 1)
    client.loop_start()
    ready.wait(10)
    began_s = time.perf_counter()
    for vehicle in vehicles:
        client.publish("open_stream", vehicle, qos=1)
        client.publish(f"stream/{vehicle}", jpeg + DRINK, qos=1)
    if not done.wait(120):
        raise RuntimeError(f"{len(waiting)} of {count} vehicles did not answer")
    opened_s = time.perf_counter()
    for vehicle in vehicles:
        client.publish("close_stream", vehicle, qos=1)
    if not eventually(lambda: measured.stored(vehicles)[0] >= count, 120):
        raise RuntimeError(f"{measured.stored(vehicles)[0]} of {count} vehicles were stored")
    stored_s = time.perf_counter()
    client.disconnect()
    client.loop_stop()
    measured.settle()
    return opened_s - began_s, stored_s - opened_s


def held(measured: Measured, count: int, frames: Sequence[bytes]) -> tuple[float, float]:
    """What a vehicle holds while its trip is open: the median of so many that have had some frames.

    Returns:
        Private memory of its process, megabytes, and CPU milliseconds a second without frames.
    """
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", measured.broker_port)
    client.loop_start()
    vehicles = [str(uuid.uuid4()) for _ in range(count)]
    for vehicle in vehicles:
        client.publish("open_stream", vehicle, qos=1)
    for jpeg in frames:
        for vehicle in vehicles:
            client.publish(f"stream/{vehicle}", jpeg, qos=1)
        time.sleep(0.1)
    measured.settle(count)
    uss_mb = statistics.median(process.memory_full_info().uss / 1e6 for process in measured.actors())
    before_s = measured.cpu_s_by_role()["vehicles"]
    time.sleep(IDLE_S)
    idle_ms = 1000 * (measured.cpu_s_by_role()["vehicles"] - before_s) / IDLE_S / count
    for vehicle in vehicles:
        client.publish("close_stream", vehicle, qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    measured.settle()
    return float(uss_mb), idle_ms


def main() -> None:
    """Print a line each."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    frames = jpegs()
    with service(import_path=STUB, stores=True) as measured:
        for count in (1, 20):
            open_s, close_s = open_and_close_s(measured, count, frames[0])
            print(f"{count} at once: {open_s:.2f} s open to first answer, {close_s:.2f} s close to row,", end=" ")
            print(f"{bare_actors_s(count):.2f} s bare actors")
        for count in (1, 10, 50):
            uss_mb, idle_ms = held(measured, count, frames[:20])
            print(f"{count}: {uss_mb:.1f} MB and {idle_ms:.1f} ms of CPU a second each")


if __name__ == "__main__":
    main()
