"""What goes into MediaPipe's short-range face detector and what its raw output means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE_PX = 128
"""Side of the detector's input."""

_MIN_SCORE = 0.5
_SAME_FACE_IOU = 0.3


@dataclass(frozen=True, slots=True)
class FoundFace:
    """A face as the detector sees it.

    Args:
        score: 0..1.
        xyxy: Left, top, right, bottom in pixels of the frame, shape (4,).
        eyes: The eye at the left of an upright face in the picture and the other one, pixels, shape (2, 2).
    """

    score: float
    xyxy: NDArray[np.float32]
    eyes: NDArray[np.float32]

    @property
    def area_px(self) -> float:
        """Of the box."""
        return float((self.xyxy[2] - self.xyxy[0]) * (self.xyxy[3] - self.xyxy[1]))


def letterbox(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit a picture into the detector's input, black around it.

    Args:
        image: BGR, shape (h, w, 3).

    Returns:
        The input, RGB -1..1, shape (1, 128, 128, 3); and the frame's pixels for the input's, `x, y = m @ (x, y, 1)`,
        shape (2, 3).
    """
    import cv2  # noqa: PLC0415 - heavy

    height, width = image.shape[:2]
    scale = max(height, width) / SIZE_PX
    matrix = np.array(
        [[scale, 0, (width - scale * SIZE_PX) / 2], [0, scale, (height - scale * SIZE_PX) / 2]], dtype=np.float32
    )
    small = cv2.warpAffine(image, matrix, (SIZE_PX, SIZE_PX), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return (small[None, :, :, ::-1] / np.float32(127.5) - 1).astype(np.float32), matrix


def largest_face(
    regressors: NDArray[np.float32], logits: NDArray[np.float32], matrix: NDArray[np.float32]
) -> FoundFace | None:
    """The largest of the faces in the detector's output for one picture.

    Args:
        regressors: Box centre, box size and six key points for each anchor, pixels of the input, shape (896, 16).
        logits: Shape (896,).
        matrix: Of `letterbox`.
    """
    scores = (1 / (1 + np.exp(-np.clip(logits, -80, 80)))).astype(np.float32)
    likely = scores >= _MIN_SCORE
    scores, raw, anchors = scores[likely], regressors[likely], _ANCHORS[likely]
    centre, half = anchors + raw[:, :2], raw[:, 2:4] / 2
    # Corners of the box, then the first two key points: everything that is needed, as four points.
    points = np.stack([centre - half, centre + half, anchors + raw[:, 4:6], anchors + raw[:, 6:8]], axis=1)
    scale, offset = matrix[0, 0], matrix[:, 2]
    faces = [
        FoundFace(score=score, xyxy=(face[:2] * scale + offset).ravel(), eyes=face[2:] * scale + offset)
        for score, face in _merge(scores, points)
    ]
    return max(faces, key=lambda face: face.area_px, default=None)


def _merge(scores: NDArray[np.float32], points: NDArray[np.float32]) -> list[tuple[float, NDArray[np.float32]]]:
    """Weighted non-maximum suppression, as MediaPipe does it: boxes of the same face are averaged by their score."""
    merged = []
    order = np.argsort(-scores)
    scores, points = scores[order], points[order]
    while len(scores):
        same = _iou(points[0, :2], points[:, :2]) > _SAME_FACE_IOU
        same[0] = True  # a box without area is not even like itself, and would stay for ever
        weights = scores[same, None, None]
        merged.append((float(scores[0]), (points[same] * weights).sum(axis=0) / weights.sum()))
        scores, points = scores[~same], points[~same]
    return merged


def _iou(one: NDArray[np.float32], many: NDArray[np.float32]) -> NDArray[np.float32]:
    """Overlap of box `one`, shape (2, 2), with each of `many`, shape (n, 2, 2)."""
    both = np.clip(np.minimum(one[1], many[:, 1]) - np.maximum(one[0], many[:, 0]), 0, None).prod(axis=1)
    either = (one[1] - one[0]).prod() + (many[:, 1] - many[:, 0]).prod(axis=1) - both
    return np.asarray(both / np.maximum(either, np.finfo(np.float32).tiny), dtype=np.float32)


def _grid(cells: int, anchors_per_cell: int) -> NDArray[np.float32]:
    """Middles of the cells of a square grid over the input, row by row, shape (cells^2 * anchors_per_cell, 2)."""
    middles = (np.arange(cells, dtype=np.float32) + 0.5) * (SIZE_PX / cells)
    y, x = np.meshgrid(middles, middles, indexing="ij")
    return np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), anchors_per_cell, axis=0)


# Strides 8 and three times 16, two anchors each, which the model packs as six in one cell.
_ANCHORS = np.concatenate([_grid(16, 2), _grid(8, 6)])
