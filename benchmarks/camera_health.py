"""What the limits of `models.camera` rest on: the dev pictures and clips as they are, and spoilt on purpose.

python -m benchmarks.camera_health --data DIR
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from models.camera import BLURRIEST, FLATTEST, Camera
from models.picture import picture_stats, read_picture

Image = NDArray[np.uint8]


def noisy(image: Image) -> Image:
    """As a sensor would see it: nothing is without noise."""
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    return np.asarray((image + noise).clip(0, 255), dtype=np.uint8)


def blurred(sigma: float) -> Callable[[Image], Image]:
    """Out of focus, at a width of 640 pixels."""
    return lambda image: noisy(np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.uint8))


SPOILT: dict[str, Callable[[Image], Image]] = {
    "as it is": lambda image: image,
    "as a night": lambda image: noisy(np.asarray(image * 0.15, dtype=np.uint8)),
    "dark": lambda image: noisy(np.asarray(image * 0.03, dtype=np.uint8)),
    "covered": lambda image: noisy(np.full_like(image, 70)),
    "blinded": lambda image: noisy(np.asarray(200 + image * 0.2, dtype=np.uint8).clip(0, 255).astype(np.uint8)),
    "blur, sigma 2 px": blurred(2),
    "blur, sigma 4 px": blurred(4),
    "blur, sigma 8 px": blurred(8),
    "blur, sigma 16 px": blurred(16),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data: Path = parser.parse_args().data
    images = [as_sent(read_picture(path)) for path in sorted(data.rglob("*.jpg"))]
    for clip in sorted(data.rglob("*.mp4")):
        with av.open(str(clip)) as file:
            frames = [np.asarray(frame.to_ndarray(format="bgr24"), dtype=np.uint8) for frame in file.decode(video=0)]
        images += [as_sent(frame) for frame in frames[::10]]
    print(f"{len(images)} pictures; limits: contrast {FLATTEST}, sharpness {BLURRIEST}")
    print(f"{'':20s} {'contrast 1 / 50 / 99 %':>24s} {'sharpness 1 / 50 / 99 %':>26s} {'blind':>8s}")
    for name, spoil in SPOILT.items():
        stats = [picture_stats(spoil(image)) for image in images]
        contrast = np.percentile([one.contrast for one in stats], [1, 50, 99])
        sharpness = np.percentile([one.sharpness for one in stats], [1, 50, 99])
        blind = np.mean([bool(Camera().is_blind(one)) for one in stats])
        spread = " / ".join(f"{one:5.1f}" for one in contrast), " / ".join(f"{one:6.3f}" for one in sharpness)
        print(f"{name:20s} {spread[0]:>24s} {spread[1]:>26s} {blind:8.1%}")


def as_sent(picture: Image) -> Image:
    """At a width of 640 pixels."""
    height, width = picture.shape[:2]
    return np.asarray(cv2.resize(picture, (640, round(height * 640 / width))), dtype=np.uint8)


if __name__ == "__main__":
    main()
