"""The blendshapes of the newer face bundle: how far each of 52 movements of the face goes, 0..1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

POINTS: Final = np.array(
    [
        *(0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78),
        *(80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150),
        *(152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197),
        *(234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308),
        *(310, 311, 312, 314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377),
        *(378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466),
        *(468, 469, 470, 471, 472, 473, 474, 475, 476, 477),
    ]
)
"""The model's input: these points of the mesh, x and y in pixels, in this order."""

_EYE_BLINK_LEFT, _EYE_BLINK_RIGHT, _JAW_OPEN = 9, 10, 25  # left is the driver's

_NEARER_ONLY_DEG = 30.0


@dataclass(frozen=True, slots=True)
class Movements:
    """Those that the project uses.

    Args:
        eye_blink: How far the lids are shut.
        jaw_open: How far the jaw is down.
    """

    eye_blink: float
    jaw_open: float


def movements(values: Sequence[float], yaw_deg: float) -> Movements:
    """Read the model's output.

    Of a face that is turned away, the further eye is seen so narrowly that it says little: both eyes count the same
    straight ahead, and from 30 degrees on the nearer one alone.

    Args:
        values: All 52.
        yaw_deg: Of the face, positive to the right of the picture: the driver's right eye is then the nearer one.
    """
    right = min(max(0.5 + yaw_deg / (2 * _NEARER_ONLY_DEG), 0.0), 1.0)
    blink = (1 - right) * float(values[_EYE_BLINK_LEFT]) + right * float(values[_EYE_BLINK_RIGHT])
    return Movements(blink, float(values[_JAW_OPEN]))
