"""False events on a driver who is awake: the synthetic driver blinks for an hour, through the face stage.

    python -m benchmarks.awake_hour [--hours 1] [--fps 10] [--pack NAME]

Looking ahead, with 15 to 20 blinks a minute of 0.1 to 0.4 s (half shut to half open). The frames are drawn as a camera
would film them, not stored; no broker, no Ray. Every event is a false one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from models.events import Event
from models.face import FaceModel
from models.fetch import default_data_dir, fetch
from models.packs import PACKS
from models.policy import Policy
from models.profiles import PROFILES
from models.senses import Senses
from models.types import Observation
from serve_app.synthetic import as_filmed, make_clip
from serve_app.synthetic.face import Puppet, smooth

BATCH = 16
SEED = 20260101
STEPS = 8
"""So many pictures of lids between open and shut."""
CLOSING_S = 0.1
SHORTEST_S = 60

Image = NDArray[np.uint8]


def main() -> None:
    """Print the events of each pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--pack", choices=list(PACKS), action="append", help="may be given again (default: all)")
    arguments = parser.parse_args()
    if arguments.hours * 3600 < SHORTEST_S:
        parser.error(f"--hours: at least {SHORTEST_S} s")
    data_dir = default_data_dir()
    make_clip(data_dir)  # brings the photograph
    folder = fetch(data_dir, say=lambda _: None).face_folder
    puppet = Puppet(np.asarray(cv2.imread(str(data_dir / "clips" / "astronaut.png")), dtype=np.uint8))
    for name in arguments.pack or list(PACKS):
        model = FaceModel(pack=PACKS[name], folder=folder)
        policy, senses = Policy(PROFILES["default"]), Senses(PROFILES["default"])
        known: dict[int, Event] = {}
        closed = frames = lost = 0
        times = blinks(3600 * arguments.hours)
        drawn = filmed(puppet, times, 3600 * arguments.hours, arguments.fps)
        while batch := list(islice(drawn, BATCH)):
            for (at_s, _), face in zip(batch, model.observe([image for _, image in batch]), strict=True):
                metrics = policy.step(Observation((), face), at_s)
                known.update({event.number: event for event in metrics.events})
                frames, lost = frames + 1, lost + (face is None)
                closed += face is not None and bool(senses.read(face, at_s).eyes_closed)
        known.update({event.number: event for event in policy.end()})
        kinds = sorted(event.kind for event in known.values())
        print(
            f"{name}, {policy.name}: {frames} frames at {arguments.fps:g} a second, {len(times)} blinks, eyes closed in"
            f" {closed} frames, no face in {lost}; events: {', '.join(kinds) or 'none'}"
        )


def blinks(duration_s: float) -> list[tuple[float, float]]:
    """Middle and duration of each, in seconds; the same every time."""
    rng = np.random.default_rng(SEED)
    found: list[tuple[float, float]] = []
    at_s = 0.0
    while (at_s := at_s + float(rng.uniform(60 / 20, 60 / 15))) < duration_s:
        found.append((at_s, float(rng.uniform(0.1, 0.4))))
    return found


def filmed(
    puppet: Puppet, times: list[tuple[float, float]], duration_s: float, fps: float
) -> Iterator[tuple[float, Image]]:
    """Time and picture of each frame."""
    rng = np.random.default_rng(SEED)
    lids = [puppet.draw(eyes_shut=step / STEPS) for step in range(STEPS + 1)]
    middles_s = np.array([middle_s for middle_s, _ in times])
    for number in range(int(duration_s * fps)):
        at_s = number / fps
        middle_s, lasts_s = times[int(np.abs(middles_s - at_s).argmin())]
        edge_s = lasts_s / 2
        shut = 1 - smooth(edge_s - CLOSING_S / 2, edge_s + CLOSING_S / 2, abs(at_s - middle_s))
        yield at_s, as_filmed(lids[round(STEPS * float(shut))], at_s, rng)


if __name__ == "__main__":
    main()
