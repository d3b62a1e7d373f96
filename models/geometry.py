"""Eye opening, mouth opening and head pose from the points of a face mesh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating[Any]]
"""Mesh points in pixels, x right, y down, shape (n, 2) or (n, 3), numbered as MediaPipe's canonical face mesh."""

# p1..p6 and p1..p8 of the formulas.
_EYES = ((362, 385, 387, 263, 373, 380), (33, 160, 158, 133, 153, 144))
_MOUTH = (61, 39, 0, 269, 291, 405, 17, 181)

DRAWN_POINTS = (*_EYES[0], *_EYES[1], *_MOUTH, 1, 199)
"""What a person is shown of a face: the points of both eyes and of the mouth that are measured, nose tip and chin."""

POSE_POINTS = (33, 263, 1, 61, 291, 199)
"""Outer eye corners, nose tip, mouth corners, chin."""

CANONICAL_FACE_CM = np.array(
    [
        [-4.445859, 2.663991, 3.173422],
        [4.445859, 2.663991, 3.173422],
        [0.0, -1.126865, 7.475604],
        [-2.456206, -4.342621, 4.283884],
        [2.456206, -4.342621, 4.283884],
        [0.0, -7.942194, 5.181173],
    ]
)
"""`POSE_POINTS` of MediaPipe's canonical face model, shape (6, 3): x to the picture's right, y up, z out of it."""

# The lens is unknown, so the face is taken to be this far away, as a driver is from a camera on the dashboard. The
# angles hardly depend on it: with 30 or 100 cm the mean pitch of faces that look straight moves by less than 2 degrees.
_DISTANCE_CM = 50.0

# No person's line of sight is an axis of the canonical model. Against it, the 23 faces of the dev pictures that by eye
# look straight into the camera have a mean pitch of -10 (-24..-4, so that awake people would be "away" beyond 20);
# from this zero they have 0 (-14..12), and all 66 frontal faces with a shut mouth a median of 0.4.
_STRAIGHT_PITCH_DEG = -10.0

# Model axes (y up, z out of the face) as the camera sees them (y down, z away from it) when the face looks at it.
_FACING = np.diag([1.0, -1.0, -1.0])


def eye_aspect_ratio(points: Points) -> float:
    """How far the eyes are open, mean of both: (|p2-p6| + |p3-p5|) / (2 |p1-p4|), Soukupova & Cech, CVWW 2016.

    Args:
        points: Shape (n, >= 2), n >= 388.

    Returns:
        About 0 shut to 0.4 wide open, no unit.
    """
    return float(np.mean([_aspect_ratio(points, eye) for eye in _EYES]))


def mouth_aspect_ratio(points: Points) -> float:
    """How far the mouth is open: (|p2-p8| + |p3-p7| + |p4-p6|) / (2 |p1-p5|).

    Args:
        points: Shape (n, >= 2), n >= 406.

    Returns:
        No unit; lips count, so a shut mouth is not 0.
    """
    return _aspect_ratio(points, _MOUTH)


def head_pose(points: Points) -> tuple[float, float, float]:
    """Where the face looks, seen from the camera.

    The picture is moved so that the face lies on the optical axis, so straight at the camera is 0/0/0 wherever in the
    picture the face is.

    Args:
        points: Shape (n, >= 2), n >= 292.

    Returns:
        Yaw (positive to the right of the picture), pitch (positive up) and roll (positive clockwise in the picture),
        degrees. The rotation is roll first, then pitch, then yaw.
    """
    import cv2  # noqa: PLC0415 - heavy

    seen = np.asarray(points, dtype=np.float64)[list(POSE_POINTS), :2]
    model = STRAIGHT_FACE_CM - STRAIGHT_FACE_CM.mean(axis=0)
    seen = seen - seen.mean(axis=0)
    size_px = float(np.linalg.norm(seen))
    if size_px <= 0:
        return 0.0, 0.0, 0.0
    focal_px = _DISTANCE_CM * size_px / float(np.linalg.norm(model[:, :2]))
    # Six points have a second solution, the face seen from behind or tipped over. The search therefore starts from a
    # face that looks at the camera, with the tilt of the line between its eyes, and stays in that valley.
    across = seen[1] - seen[0]
    start = _rotation(0.0, 0.0, float(np.arctan2(across[1], across[0]))) @ _FACING
    _, turned, _ = cv2.solvePnP(
        model,
        seen,
        np.array([[focal_px, 0.0, 0.0], [0.0, focal_px, 0.0], [0.0, 0.0, 1.0]]),
        None,
        rvec=cv2.Rodrigues(start)[0],
        tvec=np.array([[0.0], [0.0], [_DISTANCE_CM]]),
        useExtrinsicGuess=True,
        flags=cv2.SOLVEPNP_ITERATIVE,
    )
    rotation = cv2.Rodrigues(turned)[0] @ _FACING
    # The columns are the face's own axes: right of the picture, down, and (third) away from where it looks.
    yaw = np.arctan2(-rotation[0, 2], rotation[2, 2])
    pitch = np.arcsin(np.clip(rotation[1, 2], -1.0, 1.0))
    roll = np.arctan2(rotation[1, 0], rotation[1, 1])
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))


def _rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """A rotation in camera axes (x right, y down, z away) by radians in the signs of `head_pose`."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    return np.asarray(
        np.array([[cy, 0.0, -sy], [0.0, 1.0, 0.0], [sy, 0.0, cy]])
        @ np.array([[1.0, 0.0, 0.0], [0.0, cp, sp], [0.0, -sp, cp]])
        @ np.array([[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]])
    )


def _aspect_ratio(points: Points, numbers: Sequence[int]) -> float:
    """Sum of the heights over twice the width of a closed outline given left corner, top, right corner, bottom."""
    outline = points[list(numbers), :2]
    half = len(numbers) // 2
    width = float(np.linalg.norm(outline[0] - outline[half]))
    top, bottom = outline[1:half], outline[half + 1 :][::-1]
    height = float(np.linalg.norm(top - bottom, axis=1).sum())
    return height / (2 * width) if width > 0 else 0.0


STRAIGHT_FACE_CM = CANONICAL_FACE_CM @ (_FACING @ _rotation(0.0, np.radians(_STRAIGHT_PITCH_DEG), 0.0) @ _FACING).T
"""`POSE_POINTS` of a face that looks straight at the camera, shape (6, 3), axes as in `CANONICAL_FACE_CM`."""
