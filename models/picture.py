"""Pictures: read from files, and what a frame is like as one."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.types import PictureStats

LONGER_SIDE_PX = 160
"""Pictures are measured at this size: small differences of cameras and JPEG's blocks are gone there."""


def read_picture(path: Path) -> NDArray[np.uint8]:
    """A file as BGR, shape (h, w, 3).

    Raises:
        ValueError: It is no picture that can be read.
    """
    image = cv2.imread(str(path))
    if image is None:
        raise ValueError(f"{path}: not a picture that can be read")
    return np.asarray(image, dtype=np.uint8)


def picture_stats(image: Any) -> PictureStats:
    """Measure a picture.

    Args:
        image: BGR, shape (h, w, 3), uint8.
    """
    height, width = image.shape[:2]
    scale = LONGER_SIDE_PX / max(
        height, width
    )  # whatever its form: one of 8 x 60,000 pixels must not become a large one
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grey = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    mean, deviation = cv2.meanStdDev(grey)
    brightness, contrast = float(mean[0, 0]), float(deviation[0, 0])
    _, edges = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))
    return PictureStats(
        brightness=round(brightness, 1),
        contrast=round(contrast, 1),
        sharpness=round(float(edges[0, 0]) / contrast, 3) if contrast > 0 else 0.0,
        checksum=zlib.crc32(grey.tobytes()),
    )
