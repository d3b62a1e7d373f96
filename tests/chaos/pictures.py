"""Pictures that carry a number which a decoded MP4 still shows: sixteen black or white fields, one a bit."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 4
BITS = SIDE * SIDE
BLACK, WHITE = 20, 195
MIDDLE = 128
SMALL, BIG = (160, 120), (640, 480)


def picture(number: int, size: tuple[int, int] = SMALL) -> bytes:
    """A JPEG of this number, with noise, so that it and the MP4 have some kilobytes as a camera's do.

    Args:
        number: 0 to 65535.
        size: Width and height in pixels.
    """
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    fields = np.where(np.array(bits).reshape(SIDE, SIDE), WHITE, BLACK).astype(np.uint8)
    grey = cv2.resize(fields, size, interpolation=cv2.INTER_NEAREST)
    grey = cv2.add(grey, np.roll(_noise(size), number * 7, axis=1))
    return cv2.imencode(".jpg", grey)[1].tobytes()


def number_of(decoded: NDArray[Any]) -> int:
    """The number that a decoded picture, of shape (height, width), shows."""
    height, width = decoded.shape
    middles = [(2 * i + 1) / (2 * SIDE) for i in range(SIDE)]
    reach = height // (4 * SIDE)
    number = 0
    for bit in range(BITS):
        y, x = int(middles[bit // SIDE] * height), int(middles[bit % SIDE] * width)
        field = decoded[y - reach : y + reach, x - reach : x + reach]
        number |= int(field.mean() > MIDDLE) << bit
    return number


@cache
def _noise(size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 40, size[::-1], dtype=np.uint8)
