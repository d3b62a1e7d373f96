"""When a picture is of no use."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.camera import Camera
from models.picture import picture_stats
from models.policy import Policy
from models.profiles import PROFILES
from models.types import Observation, PictureStats
from tests.builders import face

Image = NDArray[np.uint8]


def scene(seed: int = 0) -> Image:
    """Something with edges, as a camera with a noisy sensor sees it."""
    picture = np.full((480, 640, 3), 60, np.uint8)
    for number in range(12):
        cv2.rectangle(picture, (50 * number, 30 * number), (50 * number + 60, 480), (20 * number,) * 3, -1)
    noise = np.random.default_rng(seed).normal(0, 3, picture.shape)
    return np.asarray((picture + noise).clip(0, 255), dtype=np.uint8)


def flat(value: int, seed: int = 0) -> Image:
    noise = np.random.default_rng(seed).normal(value, 3, (480, 640, 3))
    return np.asarray(noise.clip(0, 255), dtype=np.uint8)


def test_a_camera_that_works_is_not_blind() -> None:
    camera = Camera()
    assert [camera.is_blind(picture_stats(scene(seed))) for seed in range(5)] == [False] * 5


@pytest.mark.parametrize(
    "picture",
    [flat(2), flat(253), flat(90), np.asarray(cv2.GaussianBlur(scene(), (0, 0), 25), dtype=np.uint8)],
    ids=["black", "white", "covered", "blurred"],
)
def test_a_picture_of_nothing_is_of_no_use(picture: Image) -> None:
    assert Camera().is_blind(picture_stats(picture))


def test_a_picture_that_stands_still_is_of_no_use_from_its_second_time_on() -> None:
    camera = Camera()
    stats = picture_stats(scene())
    assert [camera.is_blind(stats), camera.is_blind(stats), camera.is_blind(picture_stats(scene(1)))] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("shape", [(60_000, 8, 3), (8, 60_000, 3), (1, 1, 3)])
def test_a_picture_of_any_form_is_measured_small(shape: tuple[int, int, int]) -> None:
    assert picture_stats(np.zeros(shape, np.uint8)).contrast == 0


def test_nothing_is_known_of_a_picture_that_nobody_measured() -> None:
    assert Camera().is_blind(None) is None


def test_ten_seconds_of_it_are_an_event_and_not_a_missing_driver() -> None:
    policy = Policy(PROFILES["default"])
    kinds = []
    for tick in range(200):
        fine = tick < 20 or tick >= 150
        picture = PictureStats(90.0, 50.0, 0.4, tick) if fine else PictureStats(2.0, 1.0, 0.5, tick)
        said = Observation(face=face() if fine else None, picture=picture)
        kinds += [(tick, event.kind, event.severity, event.ended_s) for event in policy.step(said, tick / 10).events]
    assert kinds == [(120, "camera_blind", "high", None), (170, "camera_blind", "high", 15.0)]
