"""Whether the camera sees anything: black, white, covered, blurred or frozen pictures. `Camera` is pure."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from models.types import PictureStats

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WIDTH_PX = 160
"""Pictures are measured at this width: small differences of cameras and JPEG's blocks are gone there."""

# Measured with benchmarks/camera_health.py, see there.
FLATTEST = 10.0
"""Less contrast is a picture of nothing: black, white, or something lies on the lens."""
BLURRIEST = 0.10
"""Less sharpness is out of focus or fogged so much that no face can be measured."""


class Camera:
    """Of one vehicle over one trip."""

    def __init__(self) -> None:
        self._last: int | None = None

    def is_blind(self, picture: PictureStats | None) -> bool | None:
        """Whether the picture is of no use; None: nothing is known of it.

        Two equal pictures in a row are one that stands still: no two of a camera that works are equal, for the noise of
        its sensor.

        Args:
            picture: The next one's.
        """
        if picture is None:
            return None
        frozen, self._last = picture.checksum == self._last, picture.checksum
        return frozen or picture.contrast < FLATTEST or picture.sharpness < BLURRIEST

    def snapshot(self) -> dict[str, Any]:
        """What `restore` needs: numbers only."""
        return {"last": self._last}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot."""
        self._last = snapshot["last"]


def picture_stats(image: NDArray[np.uint8]) -> PictureStats:
    """Measure a picture.

    Args:
        image: BGR, shape (h, w, 3).
    """
    import cv2  # noqa: PLC0415 - only in a process that detects

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
