"""What the service sees of a clip, half second by half second: eyes, mouth, head, objects, and what would be flagged.

    python -m benchmarks.clip_table CLIP.mp4

Runs the models and the policy of the service over the clip's frames, without broker, Ray or stores. The numbers are
medians of the frames with a face; `flagged` counts frames in which a condition has lasted its time, or an object is
seen.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from statistics import median

from models.policy import FrameMetrics, Policy
from models.profiles import PROFILES
from models.types import Face, Observation
from serve_app.detector import DetectorConfig, Models, load_models
from serve_app.settings import load_settings
from serve_app.simulator import TimedJpeg, load_source

BATCH = 16
STEP_S = 0.5
Seen = tuple[float, Face | None, FrameMetrics]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", help="a video file or a folder of pictures")
    args = parser.parse_args()
    settings = load_settings()
    models, info = load_models(
        DetectorConfig(settings.data_dir, settings.model_path, settings.image_size, settings.object_confidence)
    )
    print(f"object model {info.object_model}, face model {info.face_model}, profile {settings.policy_profile}")
    print(f"{'from s':>6} {'face':>6} {'EAR':>5} {'MAR':>5} {'yaw':>5} {'pitch':>5}  flagged")
    policy = Policy(PROFILES[settings.policy_profile])
    seen = [
        one for frames in _batches(iter(load_source(args.clip))) for one in asyncio.run(_look(models, policy, frames))
    ]
    for step, group in groupby(seen, key=lambda one: int(one[0] / STEP_S)):
        print(_line(step * STEP_S, list(group)))


async def _look(models: Models, policy: Policy, frames: Sequence[TimedJpeg]) -> list[Seen]:
    observations = await models.observe([frame.jpeg for frame in frames])
    return [
        (frame.at_s, said.face, policy.step(said, frame.at_s))
        for frame, said in zip(frames, observations, strict=True)
        if isinstance(said, Observation)
    ]


def _batches(frames: Iterator[TimedJpeg]) -> Iterator[list[TimedJpeg]]:
    while batch := list(islice(frames, BATCH)):
        yield batch


def _line(from_s: float, seen: list[Seen]) -> str:
    faces = [face for _, face, _ in seen if face]
    flagged = Counter(what for _, _, m in seen for what in (*m.labels, *m.conditions))
    said = ", ".join(f"{what} {n}/{len(seen)}" for what, n in flagged.items())
    if not faces:
        return f"{from_s:6.1f} {0:3d}/{len(seen):2d} {'-':>5} {'-':>5} {'-':>5} {'-':>5}  {said}"
    ear, mar = median(f.ear for f in faces), median(f.mar for f in faces)
    yaw, pitch = median(f.yaw_deg for f in faces), median(f.pitch_deg for f in faces)
    return f"{from_s:6.1f} {len(faces):3d}/{len(seen):2d} {ear:5.2f} {mar:5.2f} {yaw:5.0f} {pitch:5.0f}  {said}"


if __name__ == "__main__":
    main()
