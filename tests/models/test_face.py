"""The face stage on real pictures with the real models."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.face import FaceModel
from models.packs import PACKS
from models.types import Face, PackName

Image = NDArray[np.uint8]

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
MODELS = SHARED / "models"
PICTURES = SHARED / "data" / "dev"

# The limits of the profile `legacy`.
AWAY_YAW_DEG, AWAY_PITCH_DEG = 25, 20


def picture(pattern: str) -> Image:
    path = next(PICTURES.glob(pattern), None)
    if path is None:
        pytest.skip(f"no picture {pattern} in {PICTURES}")
    image = cv2.imread(str(path))
    assert image is not None, f"{path} is no picture"
    return image.astype(np.uint8)


def as_sent(image: Image) -> Image:
    """What a device makes of it: VGA, noise of the sensor, JPEG."""
    noisy = cv2.resize(image, (640, 480)) + np.random.default_rng(11).integers(-2, 3, (480, 640, 3))
    jpeg = cv2.imencode(".jpg", np.clip(noisy, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    decoded = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded.astype(np.uint8)


@pytest.fixture(scope="module", params=list(PACKS))
def model(request: pytest.FixtureRequest) -> FaceModel:
    name: PackName = request.param
    missing = [file for file in PACKS[name].files if not (MODELS / file).is_file()]
    if missing:
        pytest.skip(f"no {', '.join(missing)} in {MODELS}")
    return FaceModel(pack=PACKS[name], folder=MODELS, threads=2)


@pytest.fixture
def awake() -> Image:
    return picture("awake/astronaut.jpg")


def closed(model: FaceModel, face: Face) -> bool:
    return face.ear < model.pack.ear_closed_below


def yawning(model: FaceModel, face: Face) -> bool:
    return face.mar > model.pack.mar_open_above


def test_an_awake_driver_looks_straight_with_open_eyes_and_shut_mouth(model: FaceModel, awake: Image) -> None:
    for image in (awake, as_sent(awake)):
        [face] = model.observe([image])
        assert face is not None
        assert face.pack == model.pack.name
        assert not closed(model, face)
        assert not yawning(model, face)
        assert abs(face.yaw_deg) < AWAY_YAW_DEG / 2
        assert abs(face.pitch_deg) < AWAY_PITCH_DEG * 0.75
        assert abs(face.roll_deg) < 10
        assert face.confidence > 0.9


def test_the_box_and_the_mesh_lie_on_the_face(model: FaceModel, awake: Image) -> None:
    [face] = model.observe([awake])
    [points] = model.landmarks([awake])
    assert face is not None
    assert points is not None
    assert points.dtype == np.float32
    assert points.shape == ((478 if model.pack.name == "landmarker-478" else 468), 3)
    left, top, right, bottom = face.xyxy
    # By eye, in the picture: the irises at (299, 121) and (350, 124), the middle of the mouth at (323, 174).
    for number, place in ((159, (299, 119)), (386, (351, 122)), (13, (323, 172))):
        assert np.linalg.norm(points[number, :2] - place) < 6
    assert left < 299 < right
    assert top < 121
    assert bottom > 174


def test_a_cup_of_coffee_has_no_face(model: FaceModel) -> None:
    coffee = picture("cup/coffee.jpg")
    assert model.observe([coffee]) == [None]
    assert model.landmarks([coffee]) == [None]


def test_nothing_in_nothing_out(model: FaceModel) -> None:
    assert model.observe([]) == []
    assert model.landmarks([]) == []


def test_closed_eyes_are_closed_and_no_yawn(model: FaceModel) -> None:
    [face] = model.observe([as_sent(picture("yawn_eye_sehyunlee_test/images/closed_-35-*"))])
    assert face is not None
    assert closed(model, face)
    assert not yawning(model, face)


def test_a_yawn_is_a_yawn_with_open_eyes(model: FaceModel) -> None:
    [face] = model.observe([as_sent(picture("yawn_eye_sehyunlee_test/images/1391_jpg*"))])
    assert face is not None
    assert yawning(model, face)
    assert not closed(model, face)


def test_a_batch_of_mixed_sizes_equals_one_by_one(model: FaceModel, awake: Image) -> None:
    images = [
        awake,
        picture("cup/coffee.jpg"),
        picture("yawn_eye_sehyunlee_test/images/closed_-35-*"),
        cv2.resize(awake, (320, 240)).astype(np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        awake[:, 100:460],
    ]
    together = model.observe(images)
    assert together == [model.observe([image])[0] for image in images]
    assert [face is not None for face in together] == [True, False, True, True, False, True]


def test_the_driver_is_the_largest_face(model: FaceModel, awake: Image) -> None:
    small = cv2.resize(awake, (320, 240)).astype(np.uint8)
    both = np.zeros((480, 960, 3), np.uint8)
    both[100:340, :320] = small
    both[:, 320:] = awake
    [driver] = model.observe([both])
    [alone] = model.observe([awake])
    assert driver is not None
    assert alone is not None
    left, top, right, bottom = alone.xyxy
    assert driver.xyxy == pytest.approx((left + 320, top, right + 320, bottom), abs=20)


@pytest.mark.parametrize("tilt_deg", [-30, 30])
def test_a_tilted_head_is_measured_upright(model: FaceModel, awake: Image, tilt_deg: int) -> None:
    # OpenCV turns counter-clockwise; the face itself is tilted by 3 degrees.
    turn = cv2.getRotationMatrix2D((330, 157), -tilt_deg, 1)
    tilted, upright = model.observe([cv2.warpAffine(awake, turn, (640, 480)).astype(np.uint8), awake])
    assert tilted is not None
    assert upright is not None
    assert tilted.roll_deg - upright.roll_deg == pytest.approx(tilt_deg, abs=5)
    assert tilted.ear == pytest.approx(upright.ear, abs=0.06)
    assert tilted.mar == pytest.approx(upright.mar, abs=0.15)


@pytest.mark.parametrize("name", list(PACKS))
def test_a_missing_file_is_named(name: PackName, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=PACKS[name].files[0]):
        FaceModel(pack=PACKS[name], folder=tmp_path)


def test_the_best_pack_comes_first() -> None:
    assert list(PACKS) == ["landmarker-478", "mesh-468-iris"]
    assert all(pack.name == name for name, pack in PACKS.items())
