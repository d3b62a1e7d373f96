"""How fast trips with much footage are encoded and stored at their end, and what the other vehicles notice of it.

    python -m benchmarks.flush [--seconds 20]

Four vehicles with 600 flagged pictures each close at once, on MariaDB and fake-gcs-server, while eight others go on at
10 frames/s; the Detector is a stub. Beside it: the same eight alone, and the encoder alone in a plain loop. What the
others notice is of the flush as far as that lasts: on a faster machine, look at them for less.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from actors.encode import encode_mp4
from benchmarks.frames import jpegs
from benchmarks.latency import KINDS, Latencies, measure, percentiles_ms
from benchmarks.service import SETTLE_S, Measured, service
from benchmarks.stub import DRINK, STUB
from models.types import Frame
from tests.waiting import eventually

CLOSING = 4
FRAMES = 600
"""Of each."""
FILL_FPS = 60.0
OTHERS = 8
FPS = 10.0
STORED_S = 120.0


@dataclass(frozen=True, slots=True)
class Flushed:
    """One flush beside other vehicles.

    Args:
        seconds: From the first `close_stream` to the last row.
        beside: What the other vehicles noticed meanwhile.
    """

    seconds: float
    beside: Latencies

    @property
    def fps(self) -> float:
        """Pictures a second, encoded and uploaded beside the other vehicles."""
        return CLOSING * FRAMES / self.seconds


def encoder_fps(frames: Sequence[bytes]) -> float:
    """The encoder alone, on one core as in a vehicle."""
    taken = [Frame(i, i / FPS, jpeg) for i, jpeg in enumerate(islice(cycle(frames), FRAMES))]
    with tempfile.TemporaryDirectory() as folder:
        began_s = time.perf_counter()
        encode_mp4(taken, Path(folder, "trip.mp4"))
        return FRAMES / (time.perf_counter() - began_s)


def quiet(measured: Measured, frames: Sequence[bytes], seconds: float) -> Latencies:
    """The other vehicles while nothing is flushed."""
    return measure(measured, frames[0], frames[0] + DRINK, vehicles=OTHERS, fps=FPS, seconds=seconds)


def flushed(measured: Measured, frames: Sequence[bytes], seconds: float) -> Flushed:
    """The other vehicles while four trips are flushed.

    Args:
        measured: The service around a stub, with stores.
        frames: JPEGs.
        seconds: To look at the other vehicles for; shorter than the flush takes.

    Raises:
        RuntimeError: Footage was not stored, or is not all there.
    """
    closing = [str(uuid.uuid4()) for _ in range(CLOSING)]
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", measured.broker_port)
    client.loop_start()
    _fill(measured, client, closing, frames)
    took_s: list[float] = []

    def close() -> None:
        began_s = time.perf_counter()
        for vehicle in closing:
            client.publish("close_stream", vehicle, qos=1)
        if eventually(lambda: measured.stored(closing)[0] == CLOSING, STORED_S, every_s=0.5):
            took_s.append(time.perf_counter() - began_s)

    ending = threading.Thread(target=close)
    beside = measure(
        measured,
        frames[0],
        frames[0] + DRINK,
        vehicles=OTHERS,
        fps=FPS,
        seconds=seconds,
        open_already=CLOSING,
        begin=ending.start,
    )
    ending.join()
    client.disconnect()
    client.loop_stop()
    stored = measured.stored(closing)
    if not took_s or stored != (CLOSING, CLOSING * FRAMES):
        raise RuntimeError(f"{stored} videos and frames were stored of {CLOSING} and {CLOSING * FRAMES}")
    return Flushed(took_s[0], beside)


def _fill(measured: Measured, client: mqtt.Client, vehicles: Sequence[str], frames: Sequence[bytes]) -> None:
    """Until each has its footage."""
    for vehicle in vehicles:
        client.publish("open_stream", vehicle, qos=1).wait_for_publish(10)
    for jpeg in islice(cycle(frames), FRAMES):
        for vehicle in vehicles:
            client.publish(f"stream/{vehicle}", jpeg + DRINK, qos=1)
        time.sleep(1 / FILL_FPS)

    def full() -> bool:
        streams = measured.service.json("/v1/streams") or []
        return [one["flagged"] for one in streams] == [FRAMES] * len(vehicles)

    if not eventually(full, SETTLE_S):
        raise RuntimeError("the vehicles did not get all their frames")


def main() -> None:
    """Print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    frames = jpegs()
    with service(import_path=STUB, stores=True) as measured:
        alone = quiet(measured, frames, seconds)
        with_flush = flushed(measured, frames, seconds)
        with measured.paused():
            encoder = encoder_fps(frames)
    took = f"in {with_flush.seconds:.0f} s"
    print(f"{with_flush.fps:.0f} pictures/s stored {took}, {encoder:.0f} encoded by one encoder alone")
    for what, latencies in (("quiet", alone), ("while it flushes", with_flush.beside)):
        for kind in KINDS:
            values = getattr(latencies, kind)
            p50, p95, p99 = percentiles_ms(values)
            print(f"{kind}, {what}: {p50:.1f} / {p95:.1f} / {p99:.1f} ms at p50 / p95 / p99, {len(values)} seen")


if __name__ == "__main__":
    main()
