"""A face in a photograph as a puppet: its eyes shut, its mouth opens, its head turns, by moving pixels about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.synthetic.points import (
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    LIDS,
    LIPS,
    OUTER_LOWER_LIP,
    OUTER_UPPER_LIP,
    OVAL,
    POINTS,
    STILL,
)

Image = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Goals = dict[int, Floats]
"""Where points of the mesh go: x, y in pixels by number."""

WIDTH_PX, HEIGHT_PX = 640, 480

# What was tuned by eye and by what both face packs measure. Pixels, unless said otherwise.
_HEAD_X, _HEAD_Y, _HEAD_A, _HEAD_B = 322.0, 195.0, 142.0, 175.0  # the hair's outline: middle and half axes
_AXIS_Z = 90.0  # the axis that the head turns about lies this far behind the mesh's zero
_LID_FROM_BROW = 18.0  # so much skin above the eye is stretched to be the lid
_CHIN_UP_DEG = 6.0  # the photograph was taken from a little above: without this a mesh sees a lowered head
_GRID = 8  # smooth maps are computed at every eighth pixel


class Puppet:
    """The face of skimage's `astronaut.png`.

    Args:
        photograph: BGR, shape (512, 512, 3).
    """

    def __init__(self, photograph: Image) -> None:
        import cv2  # noqa: PLC0415 - heavy

        driver = cv2.resize(photograph[:240, 64:384], (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
        self._photograph = np.asarray(driver, dtype=np.uint8)
        x, y = np.meshgrid(np.arange(WIDTH_PX, dtype=np.float32), np.arange(HEIGHT_PX, dtype=np.float32))
        self._x, self._y = x, y
        self._depth = _depth()
        # 1 on the head, from there fading to 0: the background and the body stay where they are.
        from_head = np.abs(x - _HEAD_X) / _HEAD_A
        from_head = np.where(y < _HEAD_Y, np.hypot(from_head, (y - _HEAD_Y) / _HEAD_B), from_head)
        self._head = 1 - smooth(1.0, 1.6, from_head)
        self._rest = self._mouth_shift(_mouth_at_rest())
        self._chin_up = self._chin_up_from(_CHIN_UP_DEG)

    def draw(self, *, eyes_shut: float = 0.0, mouth_open: float = 0.0, turn_deg: float = 0.0) -> Image:
        """The face so.

        Args:
            eyes_shut: 0 open to 1 shut.
            mouth_open: 0 shut to 1 as wide as in a yawn.
            turn_deg: Positive to the right of the picture; believable up to 40 degrees.

        Returns:
            BGR, shape (480, 640, 3).
        """
        image = self._close_eyes(self._photograph, eyes_shut)
        image = self._shape_mouth(image, mouth_open)
        image = self._remap(image, self._x, self._chin_up)
        return self._turn(image, turn_deg) if turn_deg else image

    def _close_eyes(self, image: Image, shut: float) -> Image:
        """Pull the skin between brow and upper lid down over the eye; what was the lid's edge becomes the lashes."""
        source_y = self._y.copy()
        lashes = np.zeros_like(source_y)
        columns = np.arange(WIDTH_PX)
        for upper, lower in LIDS:
            lid, rim = _xy(upper), _xy(lower)
            left, right = lid[0, 0], lid[-1, 0]
            inside = smooth(left - 2, left + 2, columns) * (1 - smooth(right - 2, right + 2, columns))
            edge = np.interp(columns, lid[:, 0], lid[:, 1])
            # A little beyond the lower lid, so that no white of the eye shines through.
            shut_edge = edge + 1.15 * shut * (np.interp(columns, rim[:, 0], rim[:, 1]) - edge) * inside
            top = edge - _LID_FROM_BROW
            near = (columns >= left - 3) & (columns <= right + 3)
            skin = near & (self._y > top) & (self._y <= shut_edge)
            stretched = top + (self._y - top) * _LID_FROM_BROW / (shut_edge - top)
            source_y = np.where(skin, stretched, source_y)
            lashes = np.maximum(lashes, near * inside * np.exp(-(((self._y - shut_edge) / 1.2) ** 2)))
        return _blend(self._remap(image, self._x, source_y), (30.0, 40.0, 60.0), lashes * 0.6 * smooth(0.4, 0.8, shut))

    def _shape_mouth(self, image: Image, opened: float) -> Image:
        """Move lips and chin from the photograph's smile to a mouth at rest, and from there to a yawn."""
        if not opened:
            return self._remap(image, self._x + self._rest[..., 0], self._y + self._rest[..., 1])
        rest, yawn = _mouth_at_rest(), _mouth_in_a_yawn()
        points: Goals = {number: rest[number] + (yawn[number] - rest[number]) * opened for number in rest}
        shift = self._mouth_shift(points)
        return self._darken_mouth(self._remap(image, self._x + shift[..., 0], self._y + shift[..., 1]), points, opened)

    @staticmethod
    def _mouth_shift(points: Goals) -> Floats:
        """From where, seen from each pixel, the picture comes when lips and chin lie there; shape (480, 640, 2)."""
        numbers = list(dict.fromkeys([number for lip in LIPS for number in lip] + [*OVAL, *STILL]))
        goal = np.array([points[number] for number in numbers])
        anchors = _anchors()
        return _spline(np.vstack([goal, anchors]), np.vstack([_xy(numbers) - goal, np.zeros_like(anchors)]))

    def _darken_mouth(self, image: Image, points: Goals, opened: float) -> Image:
        import cv2  # noqa: PLC0415 - heavy

        top = np.array([points[number] for number in INNER_UPPER_LIP])
        bottom = np.array([points[number] for number in INNER_LOWER_LIP])
        # The upper teeth stay to be seen.
        top[:, 1] += np.minimum(9, np.maximum(bottom[:, 1] - top[:, 1], 0) / 2)
        outline = (np.vstack([top, bottom[::-1]]) * 16).round().astype(np.int32)
        mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
        cv2.fillPoly(mask, [outline], [255], lineType=cv2.LINE_AA, shift=4)
        weight = cv2.GaussianBlur(mask, (0, 0), 1.5) / np.float32(255) * min(1.0, opened * 3)
        tongue = smooth(top[5, 1], bottom[5, 1] + 6, self._y)[..., None]
        return _blend(image, np.array([18, 14, 38]) * (1 - tongue) + np.array([45, 38, 100]) * tongue, weight)

    def _chin_up_from(self, degrees: float) -> Floats:
        """The line that each pixel comes from when the head is raised, shape (480, 640)."""
        angle = np.radians(degrees) * (1 - smooth(330, 400, self._y))
        middle = 230.0
        goal = (self._y - middle) * np.cos(angle) - self._depth * np.sin(angle) + middle
        goal = self._y + (goal - self._y) * self._head
        # Along a line what is nearer hides what is behind it, which a running minimum from below does.
        goal = np.minimum.accumulate(goal[::-1])[::-1] + 1e-3 * self._y
        return np.stack([np.interp(self._y[:, 0], line, self._y[:, 0]) for line in goal.T], axis=1)

    def _turn(self, image: Image, degrees: float) -> Image:
        angle = np.radians(degrees) * (1 - smooth(350, 415, self._y))
        goal = (self._x - _HEAD_X) * np.cos(angle) + self._depth * np.sin(angle) + _HEAD_X
        goal = self._x + (goal - self._x) * self._head
        if degrees > 0:
            goal = np.maximum.accumulate(goal, axis=1)
        else:
            goal = np.minimum.accumulate(goal[:, ::-1], axis=1)[:, ::-1]
        goal = goal + 1e-3 * self._x
        source = np.stack([np.interp(self._x[0], line, self._x[0]) for line in goal])
        return self._remap(image, source, self._y)

    @staticmethod
    def _remap(image: Image, x: Floats, y: Floats) -> Image:
        import cv2  # noqa: PLC0415 - heavy

        moved = cv2.remap(
            image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        return np.asarray(moved, dtype=np.uint8)


def smooth(start: float, end: float, value: Any) -> Any:
    """0 up to `start`, 1 from `end` on, a smooth step between them; for numbers and arrays."""
    share = np.clip((value - start) / (end - start), 0, 1)
    return share * share * (3 - 2 * share)


def _xy(numbers: Sequence[int]) -> Floats:
    return np.array([POINTS[number][:2] for number in numbers])


def _mouth_middle() -> float:
    return float(_xy((61, 291))[:, 0].mean())


def _mouth_at_rest() -> Goals:
    """Where the points go for lips that nearly touch and corners that do not smile."""
    goal: Goals = {number: point[:2].copy() for number, point in POINTS.items()}
    middle = _mouth_middle()
    halves = ((OUTER_UPPER_LIP, INNER_UPPER_LIP), (OUTER_LOWER_LIP, INNER_LOWER_LIP))
    for outer, inner in halves:
        for i, number in enumerate(inner[1:-1], start=1):
            upper, lower = POINTS[INNER_UPPER_LIP[i]][1], POINTS[INNER_LOWER_LIP[i]][1]
            meet = 0.4 * upper + 0.6 * lower
            goal[outer[i]][1] += meet - POINTS[number][1]
            goal[number][1] = meet
    for number in dict.fromkeys(number for lip in LIPS for number in lip):
        x = POINTS[number][0] - middle
        goal[number][0] = middle + 0.8 * x
        goal[number][1] += 10 * min(abs(x) / 42, 1.0) ** 1.5
    for number in OVAL:
        goal[number][1] -= 2 * smooth(250, 345, POINTS[number][1])
    return goal


def _mouth_in_a_yawn() -> Goals:
    """Where the points go for lips that form a tall O."""
    goal: Goals = {number: point[:2].copy() for number, point in POINTS.items()}
    half_width, top, bottom, lip = 27.0, 278.0, 346.0, 8.0
    half_height = (bottom - top) / 2
    angles = np.linspace(np.pi, 0, len(OUTER_UPPER_LIP))
    for numbers, inset, way in zip(LIPS, (0.0, 0.0, lip, lip), (-1, 1, -1, 1), strict=True):
        for number, angle in zip(numbers, angles, strict=True):
            x = _mouth_middle() + (half_width - 0.6 * inset) * np.cos(angle)
            # The sine of pi is not quite 0, and may be a little below.
            rise = max(np.sin(angle), 0.0) ** 1.15
            goal[number] = np.array([x, top + half_height + way * (half_height - inset) * rise])
    for number in OVAL:
        goal[number][1] += 14 * smooth(250, 345, POINTS[number][1])
    return goal


def _anchors() -> Floats:
    """What a yawn does not move: the picture's rim, the hair, the body; shape (n, 2)."""
    points = [(x, y) for x in range(0, 641, 80) for y in (0, 60, 120)]
    points += [(x, y) for x in range(0, 641, 40) for y in (430, 480)]
    points += [(x, y) for x in (0, 80, 160, 480, 560, 640) for y in range(160, 430, 60)]
    points += [(x, y) for x in (190, 460) for y in (200, 260, 320, 380)]
    return np.array(points, dtype=np.float64)


def _depth() -> Floats:
    """How far every pixel lies before the axis that the head turns about, shape (480, 640)."""
    around = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    rim = [(_HEAD_X + 138 * np.cos(a), _HEAD_Y + 165 * np.sin(a), 0.0) for a in around]
    hair = [(322.0, 80.0, 75.0), (270.0, 90.0, 65.0), (374.0, 90.0, 65.0)]
    face = [(x, y, _AXIS_Z - z) for x, y, z in POINTS.values()]
    known = np.array([*face, *[point for point in rim if point[1] < 300], *hair])  # noqa: PLR2004 - below is the neck
    return np.clip(_spline(known[:, :2], known[:, 2:])[..., 0], 0, None)


def _spline(at: Floats, values: Floats) -> Floats:
    """The thin-plate spline (Bookstein 1989) through values at points, nearly: a little stiffness keeps it smooth.

    Args:
        at: Pixels, shape (n, 2).
        values: Shape (n, k).

    Returns:
        Its value at every pixel, shape (480, 640, k).
    """
    import cv2  # noqa: PLC0415 - heavy

    def bend(to: Floats) -> Floats:
        square = (((to[:, None] - at[None]) / 100) ** 2).sum(axis=-1)
        return np.asarray(square * np.log(np.maximum(square, 1e-12)))

    def plane(to: Floats) -> Floats:
        return np.column_stack([np.ones(len(to)), to / 100])

    n = len(at)
    system = np.zeros((n + 3, n + 3))
    system[:n, :n] = bend(at) + 1e-3 * np.eye(n)
    system[:n, n:] = plane(at)
    system[n:, :n] = plane(at).T
    weights = np.linalg.solve(system, np.vstack([values, np.zeros((3, values.shape[1]))]))
    x, y = np.meshgrid(np.arange(0, WIDTH_PX + _GRID, _GRID), np.arange(0, HEIGHT_PX + _GRID, _GRID))
    grid = np.column_stack([x.ravel(), y.ravel()]).astype(np.float64)
    coarse = (bend(grid) @ weights[:n] + plane(grid) @ weights[n:]).reshape(*x.shape, -1)
    column, row = np.meshgrid(np.arange(WIDTH_PX), np.arange(HEIGHT_PX))
    fine = cv2.remap(
        coarse.astype(np.float32),
        (column / _GRID).astype(np.float32),
        (row / _GRID).astype(np.float32),
        cv2.INTER_CUBIC,
    )
    return np.asarray(fine, dtype=np.float32).reshape(HEIGHT_PX, WIDTH_PX, -1)


def _blend(image: Image, colour: Any, weight: Floats) -> Image:
    """`image` with `colour` (BGR) over it where `weight`, shape (480, 640), is 1."""
    share = weight[..., None]
    return np.asarray((image * (1 - share) + np.asarray(colour) * share).clip(0, 255), dtype=np.uint8)
