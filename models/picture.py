"""What a frame is like as a picture."""

from __future__ import annotations

import zlib
from typing import Any

import cv2

from models.types import PictureStats

WIDTH_PX = 160
"""Pictures are measured at this width: small differences of cameras and JPEG's blocks are gone there."""


def picture_stats(image: Any) -> PictureStats:
    """Measure a picture.

    Args:
        image: BGR, shape (h, w, 3), uint8.
    """
    height, width = image.shape[:2]
    size = WIDTH_PX, max(1, round(height * WIDTH_PX / width))
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
