"""The blendshapes of a face, from the model's 52 values."""

import pytest

from models.blendshapes import POINTS, movements


@pytest.mark.parametrize(
    ("yaw_deg", "eye_blink"),
    [(0, 0.5), (15, 0.7), (30, 0.9), (60, 0.9), (-15, 0.3), (-30, 0.1), (-60, 0.1)],
)
def test_the_nearer_eye_counts_more(yaw_deg: float, eye_blink: float) -> None:
    values = [0.0] * 52
    values[9], values[10] = 0.1, 0.9  # eyeBlinkLeft, eyeBlinkRight
    assert movements(values, yaw_deg).eye_blink == pytest.approx(eye_blink)


def test_the_jaw() -> None:
    values = [0.0] * 52
    values[25] = 0.7
    found = movements(values, 0)
    assert (found.eye_blink, found.jaw_open) == (0, 0.7)


def test_the_input_is_146_points_of_the_mesh() -> None:
    assert POINTS.shape == (146,)
    assert len(set(POINTS.tolist())) == 146
    assert POINTS.min() == 0
    assert POINTS.max() == 477
