"""Openings of known outlines, and the pose of a canonical face that was turned by known angles."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models import geometry

Points = NDArray[np.float64]

# MediaPipe's canonical face model, by the numbers of its points. These numbers and places are copied from there and
# not from the code under test.
LEFT_EYE, RIGHT_EYE, NOSE = 33, 263, 1
POSE_POINTS = (LEFT_EYE, RIGHT_EYE, NOSE, 61, 291, 199)
CANONICAL_FACE_CM = np.array(
    [
        (-4.445859, 2.663991, 3.173422),
        (4.445859, 2.663991, 3.173422),
        (0.0, -1.126865, 7.475604),
        (-2.456206, -4.342621, 4.283884),
        (2.456206, -4.342621, 4.283884),
        (0.0, -7.942194, 5.181173),
    ]
)

# Who looks straight at the camera has this pitch against the canonical model.
STRAIGHT_PITCH_DEG = -10


def mesh(numbers: tuple[int, ...], outline: list[tuple[float, float]], points: Points | None = None) -> Points:
    """A mesh with the given points at the given places, the rest far away or as in `points`."""
    result = np.full((478, 3), -5000.0) if points is None else points
    result[list(numbers), :2] = outline
    return result


def seen(*, yaw: float, pitch: float, roll: float, distance_cm: float = 50) -> Points:
    """The mesh of a face with this pose in a 640x480 picture, through a lens of about 56 degrees."""
    face = (CANONICAL_FACE_CM - CANONICAL_FACE_CM.mean(axis=0)) * [1, -1, -1]
    # Each turn on its own, by the right hand about x (picture's right), y (down) and z (away from the camera).
    turns = (((-1, 0, 0), STRAIGHT_PITCH_DEG), ((0, 0, 1), roll), ((-1, 0, 0), pitch), ((0, -1, 0), yaw))
    for axis, deg in turns:
        face = face @ cv2.Rodrigues(np.radians(deg) * np.array(axis, dtype=float))[0].T
    face = face + np.array([0, 0, distance_cm])
    return mesh(POSE_POINTS, face[:, :2] / face[:, 2:] * 600 + [320, 240])


def test_eye_opening_is_height_over_width_and_the_mean_of_both_eyes() -> None:
    left = [(5.0, 7.0), (15.0, 4.0), (25.0, 4.0), (35.0, 7.0), (25.0, 10.0), (15.0, 10.0)]
    shut = [(105.0, 7.0), (115.0, 7.0), (125.0, 7.0), (135.0, 7.0), (125.0, 7.0), (115.0, 7.0)]
    points = mesh((33, 160, 158, 133, 153, 144), left)
    points = mesh((362, 385, 387, 263, 373, 380), shut, points)
    assert geometry.eye_aspect_ratio(points) == pytest.approx((0.2 + 0.0) / 2)
    # Another height at each place, so that every point counts in both eyes.
    wide = [(105.0, 7.0), (115.0, 1.0), (125.0, -1.0), (145.0, 7.0), (125.0, 17.0), (115.0, 11.0)]
    points = mesh((362, 385, 387, 263, 373, 380), wide, points)
    assert geometry.eye_aspect_ratio(points) == pytest.approx((0.2 + (10 + 18) / (2 * 40)) / 2)


def test_mouth_opening_is_the_sum_of_three_heights_over_twice_the_width() -> None:
    outline = [(50, 90), (60, 80), (70, 75), (80, 81), (90, 90), (80, 101), (70, 105), (60, 100)]
    points = mesh((61, 39, 0, 269, 291, 405, 17, 181), [(float(x), float(y)) for x, y in outline])
    assert geometry.mouth_aspect_ratio(points) == pytest.approx((20 + 30 + 20) / (2 * 40))


def test_openings_do_not_depend_on_size_place_or_tilt() -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 100, (478, 2))
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    moved = 3.5 * points @ turn + [40, -7]
    assert geometry.eye_aspect_ratio(moved) == pytest.approx(geometry.eye_aspect_ratio(points))
    assert geometry.mouth_aspect_ratio(moved) == pytest.approx(geometry.mouth_aspect_ratio(points))


def test_an_outline_without_width_is_shut_and_no_error() -> None:
    assert geometry.eye_aspect_ratio(np.zeros((478, 3))) == 0
    assert geometry.mouth_aspect_ratio(np.zeros((478, 3))) == 0
    assert geometry.head_pose(np.zeros((478, 3))) == (0, 0, 0)


@pytest.mark.parametrize(
    "pose",
    [
        (0, 0, 0),
        (30, 0, 0),
        (-30, 0, 0),
        (0, 25, 0),
        (0, -25, 0),
        (0, 0, 20),
        (0, 0, -20),
        (60, 0, 0),
        (-60, 0, 0),
        (25, -20, 15),
        (-25, 20, -15),
        (0, 0, 175),
        (20, 10, -90),
    ],
)
def test_the_pose_that_was_put_in_comes_out(pose: tuple[float, float, float]) -> None:
    yaw, pitch, roll = pose
    assert geometry.head_pose(seen(yaw=yaw, pitch=pitch, roll=roll)) == pytest.approx(pose, abs=0.5)


def test_signs_are_those_of_the_picture() -> None:
    straight = seen(yaw=0, pitch=0, roll=0)
    assert seen(yaw=20, pitch=0, roll=0)[NOSE, 0] > straight[NOSE, 0], "the nose goes to the right of the picture"
    assert seen(yaw=0, pitch=20, roll=0)[NOSE, 1] < straight[NOSE, 1], "the nose goes up"
    tilted = seen(yaw=0, pitch=0, roll=20)[[LEFT_EYE, RIGHT_EYE], 1]
    assert tilted[1] > tilted[0], "the eye at the right of the picture is lower"


def test_the_place_in_the_picture_and_the_size_do_not_matter() -> None:
    points = seen(yaw=20, pitch=-10, roll=5)
    moved = points * 0.4
    moved[:, :2] += [250, -80]
    assert geometry.head_pose(moved) == pytest.approx(geometry.head_pose(points), abs=0.01)


@pytest.mark.parametrize("distance_cm", [35, 70, 120])
def test_another_distance_changes_little(distance_cm: float) -> None:
    found = geometry.head_pose(seen(yaw=25, pitch=-20, roll=10, distance_cm=distance_cm))
    assert found == pytest.approx((25, -20, 10), abs=4)


def test_noise_never_turns_the_face_over() -> None:
    rng = np.random.default_rng(2)
    for yaw, pitch, roll in rng.uniform([-60, -40, -60], [60, 40, 60], (100, 3)):
        points = seen(yaw=yaw, pitch=pitch, roll=roll)
        found = geometry.head_pose(points + rng.normal(0, 1, points.shape))
        assert found == pytest.approx((yaw, pitch, roll), abs=10)
