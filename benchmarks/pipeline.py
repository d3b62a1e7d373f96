"""How many frames a second go from MQTT publish to observation, beside what the bare models would do.

    python -m benchmarks.pipeline [--stub] [--vehicles 8] [--seconds 15]

Every vehicle keeps its mailbox filled. Broker and load generator run on the same cores; their CPU time is not counted,
that of Ray's own processes is. With `--stub` there are no models, and all that is left is overhead.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence

from benchmarks.ceiling import Rate
from benchmarks.frames import jpegs
from benchmarks.load import Load, Looked
from benchmarks.service import SETTLE_S, Measured, service
from benchmarks.stub import STUB
from tests.waiting import eventually

WARM_FPS = 1.0
"""Until then: it would take longer beside more."""
MOST_DROPPED = 0.01
"""Of the frames."""
MOST_STEADY = 0.9
"""Of what it takes; more would not drain what waits."""
WARM_S = 4.0
"""Once all processes are there, until the load has found the rate."""


@contextlib.contextmanager
def loaded(measured: Measured, vehicles: int, frames: Sequence[bytes]) -> Iterator[Load]:
    """So many vehicles with an open trip, all processes there, the mailboxes filled; afterwards all is calm again."""
    with Load(measured.broker_port, lambda: measured.service.json("/v1/streams"), vehicles, frames) as load:
        load.steady(WARM_FPS)
        measured.settle(vehicles)
        load.saturate(WARM_S)
        yield load
    measured.settle()


def saturated(measured: Measured, vehicles: int, frames: Sequence[bytes], seconds: float) -> Rate:
    """The rate under as much as it takes; see `saturated_and_steady`."""
    return saturated_and_steady(measured, vehicles, frames, seconds)[0]


def saturated_and_steady(
    measured: Measured, vehicles: int, frames: Sequence[bytes], seconds: float, fps: float = 0.0
) -> tuple[Rate, Rate | None]:
    """The rate under as much as it takes, and then at so many frames a second of each vehicle.

    Args:
        measured: The service.
        vehicles: So many have a trip open.
        frames: JPEGs that they send.
        seconds: To measure each for, after warming up.
        fps: None is measured where that is more than it takes, or 0.

    Raises:
        RuntimeError: Too many were dropped for a load that should fit: that costs as well.
    """
    then = None
    with loaded(measured, vehicles, frames) as load:
        dropped = load.look().dropped
        full = _rate(measured, lambda: load.saturate(seconds))
        dropped = load.look().dropped - dropped
        if 0 < fps * vehicles < MOST_STEADY * full.fps:
            load.steady(fps)
            if not eventually(lambda: sum(load.look().backlog.values()) <= vehicles, SETTLE_S, every_s=1.0):
                raise RuntimeError(f"{vehicles} vehicles at {fps:g} frames/s each are more than it takes")
            then = _rate(measured, lambda: load.watch(seconds))
    if dropped > MOST_DROPPED * full.frames:
        raise RuntimeError(f"{dropped} frames were dropped under a load that should fit")
    return full, then


def _rate(measured: Measured, run: Callable[[], tuple[Looked, Looked]]) -> Rate:
    def cpu_s() -> dict[str, float]:
        return {**measured.cpu_s_by_role(), "broker": measured.broker_cpu_s()}

    before = cpu_s()
    first, last = run()
    roles = {role: spent_s - before.get(role, 0.0) for role, spent_s in cpu_s().items()}
    broker_s = roles.pop("broker")
    total_s = sum(roles.values())
    return Rate(last.observed - first.observed, last.at_s - first.at_s, total_s, {**roles, "broker": broker_s})


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
