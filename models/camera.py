"""Whether the camera sees anything: black, white, covered, blurred or frozen pictures. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.types import PictureStats

# Measured with benchmarks/camera_health.py on 313 pictures of drivers. Contrast (1 %, median): as they are 24, 69; at
# 15 % of their brightness 3.7, 10; at 3 %, 0.6, 1.6. Sharpness (median): as they are .57; out of focus by 4 px of
# 640 .17, by 8 px .08. Of the pictures as they are none is called blind.
FLATTEST = 3.0
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
