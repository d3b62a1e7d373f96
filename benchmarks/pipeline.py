"""How many frames a second go from MQTT publish to observation, beside what the bare models would do.

    python -m benchmarks.pipeline [--stub] [--vehicles 8] [--seconds 15]

Every vehicle keeps its mailbox filled. Broker and load generator run on the same cores; their CPU time is not counted,
that of Ray's own processes is. With `--stub` there are no models, and all that is left is overhead.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from benchmarks.ceiling import Rate
from benchmarks.frames import jpegs
from benchmarks.load import Load
from benchmarks.service import SETTLE_S, Measured, service

WARM_S = 4.0
"""Once all processes are there, until the load has found the rate."""
WARM_FPS = 1.0
"""Until then."""
STUB = "benchmarks.stub:build"


def saturated(measured: Measured, vehicles: int, frames: Sequence[bytes], seconds: float) -> Rate:
    """The rate under as much as it takes.

    Args:
        measured: The service, warm.
        vehicles: So many have a trip open.
        frames: JPEGs that they send.
        seconds: To measure for, after warming up.

    Raises:
        RuntimeError: Frames were dropped.
    """
    with Load(measured.broker_port, lambda: measured.service.json("/v1/streams"), vehicles, frames) as load:
        warm_s = time.monotonic() + SETTLE_S
        while time.monotonic() < warm_s and not measured.settled(vehicles):
            load.saturate(1.0)
        load.saturate(WARM_S)
        cpu_s = measured.cpu_s()
        first, last = load.saturate(seconds)
        cpu_s = measured.cpu_s() - cpu_s
    measured.settle()
    if dropped := last.dropped - first.dropped:
        raise RuntimeError(f"{dropped} frames were dropped under a load that should fit")
    return Rate(last.observed - first.observed, last.at_s - first.at_s, cpu_s)


def steady(measured: Measured, vehicles: int, frames: Sequence[bytes], fps: float, seconds: float) -> Rate:
    """The rate when every vehicle sends this many frames a second, whether or not that is more than it takes."""
    with Load(measured.broker_port, lambda: measured.service.json("/v1/streams"), vehicles, frames) as load:
        load.steady(WARM_FPS)
        measured.settle(vehicles)
        load.steady(fps)
        time.sleep(WARM_S)
        first, cpu_s = load.look(), measured.cpu_s()
        time.sleep(seconds)
        last, cpu_s = load.look(), measured.cpu_s() - cpu_s
    measured.settle()
    return Rate(last.observed - first.observed, last.at_s - first.at_s, cpu_s)


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stub", action="store_true")
    parser.add_argument("--vehicles", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=15.0)
    arguments = parser.parse_args()
    with service(import_path=STUB if arguments.stub else None) as measured:
        rate = saturated(measured, arguments.vehicles, jpegs(), arguments.seconds)
    print(f"{rate.fps:.0f} frames/s, {rate.cpu_ms:.2f} ms of CPU a frame")


if __name__ == "__main__":
    main()
