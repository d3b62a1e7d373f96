"""Which face the driver's is, told by hand-made output of the detector: no model and no picture is needed for it."""

from __future__ import annotations

import numpy as np
import pytest

from models.face_detection import FoundFace, largest_face

Box = tuple[float, float, float, float]

# A 640x480 frame in the detector's 128x128: five pixels of the frame for one of the input, 80 rows of black above it.
FRAME = np.array([[5, 0, 0], [0, 5, -80]], np.float32)


class Output:
    """The detector's output for one picture, without a face until `sees` is called."""

    def __init__(self) -> None:
        self.regressors = np.zeros((896, 16), np.float32)
        self.logits = np.full(896, -1000, np.float32)

    def sees(self, number: int, box: Box, score: float) -> Output:
        """Let one anchor see a face with this box, in pixels of the input, and eyes in it at known places."""
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        x, y = anchor(number)
        self.regressors[number, :8] = (
            *((left + right) / 2 - x, (top + bottom) / 2 - y),
            *(width, height),
            *(left + 0.3 * width - x, top + 0.4 * height - y),
            *(left + 0.7 * width - x, top + 0.5 * height - y),
        )
        self.regressors[number, 8:] = 1000  # nose, mouth and ears, which nobody asks for
        self.logits[number] = np.log(score / (1 - score))
        return self

    def driver(self) -> FoundFace | None:
        return largest_face(self.regressors, self.logits, FRAME)


def anchor(number: int) -> tuple[float, float]:
    """The place of an anchor: two in each cell of 8 pixels, then six in each cell of 16, row by row."""
    cell, cells, side_px = (number // 2, 16, 8) if number < 512 else ((number - 512) // 6, 8, 16)
    return (cell % cells + 0.5) * side_px, (cell // cells + 0.5) * side_px


def assert_is(face: FoundFace | None, box: Box, score: float) -> None:
    """The face has this box of the input and this score, and its eyes are where `sees` puts them."""
    left, top, right, bottom = 5 * box[0], 5 * box[1] - 80, 5 * box[2], 5 * box[3] - 80
    width, height = right - left, bottom - top
    assert face is not None
    assert face.score == pytest.approx(score, abs=1e-4)
    assert face.xyxy == pytest.approx(np.array([left, top, right, bottom]), abs=0.05)
    eyes = [(left + 0.3 * width, top + 0.4 * height), (left + 0.7 * width, top + 0.5 * height)]
    np.testing.assert_allclose(face.eyes, eyes, atol=0.05)
    assert face.area_px == pytest.approx(width * height, rel=0.01)


@pytest.mark.parametrize("number", [0, 1, 37, 301, 511, 512, 517, 518, 700, 895])
def test_a_face_is_where_its_anchor_says_in_pixels_of_the_frame(number: int) -> None:
    face = Output().sees(number, (40, 30, 60, 54), 0.8).driver()
    assert face is not None
    assert face.xyxy.tolist() == pytest.approx([200, 70, 300, 190], abs=0.05)
    np.testing.assert_allclose(face.eyes, [(230, 118), (270, 130)], atol=0.05)
    assert face.score == pytest.approx(0.8)
    assert face.area_px == pytest.approx(100 * 120, rel=0.01)


@pytest.mark.parametrize(("small_number", "large_number"), [(100, 600), (600, 100)])
def test_the_larger_of_two_faces_is_the_drivers_though_its_score_is_lower(small_number: int, large_number: int) -> None:
    small, large = (10, 40, 30, 60), (60, 40, 100, 80)
    both = Output().sees(small_number, small, 0.95).sees(large_number, large, 0.6)
    assert_is(both.driver(), large, 0.6)
    assert_is(Output().sees(small_number, small, 0.95).driver(), small, 0.95)


def test_a_wide_face_is_smaller_than_a_large_one() -> None:
    wide, large = (10, 20, 60, 40), (70, 50, 110, 90)
    assert_is(Output().sees(7, wide, 0.9).sees(8, large, 0.8).driver(), large, 0.8)


def test_boxes_of_one_face_are_averaged_by_their_scores_and_the_best_score_is_the_faces() -> None:
    boxes = {(40, 40, 80, 80): 0.9, (48, 44, 88, 84): 0.6, (36, 36, 72, 76): 0.75}
    output = Output()
    for number, (box, score) in zip((620, 30, 801), boxes.items(), strict=True):
        output.sees(number, box, score)
    average = np.average(list(boxes), axis=0, weights=list(boxes.values()))
    left, top, right, bottom = average.tolist()
    assert (left, top) == pytest.approx((40.8, 39.733), abs=0.001)
    assert_is(output.driver(), (left, top, right, bottom), 0.9)


def test_boxes_that_overlap_by_more_than_three_tenths_are_one_face() -> None:
    # Boxes 40 wide, the other one a step to the right: they share (40 - step) / (40 + step).
    box = (20, 40, 60, 80)
    just_one = Output().sees(600, box, 0.8).sees(601, (41, 40, 81, 80), 0.8)
    assert_is(just_one.driver(), (30.5, 40, 70.5, 80), 0.8)
    just_two = Output().sees(600, box, 0.9).sees(601, (43, 40, 83.5, 80), 0.8)
    assert_is(just_two.driver(), (43, 40, 83.5, 80), 0.8)


def test_a_box_beside_the_best_one_is_no_part_of_it() -> None:
    # One of the second face's own boxes overlaps nothing else, and both are larger than the best one.
    output = Output().sees(5, (10, 10, 30, 30), 0.95)
    output.sees(600, (60, 60, 100, 100), 0.6).sees(610, (62, 60, 102, 100), 0.6)
    assert_is(output.driver(), (61, 60, 101, 100), 0.6)


@pytest.mark.timeout(10)
def test_a_box_without_area_hangs_nothing_and_hides_no_face() -> None:
    point, real = (50, 50, 50, 50), (20, 20, 60, 60)
    assert_is(Output().sees(3, point, 0.99).sees(4, real, 0.7).driver(), real, 0.7)
    alone = Output().sees(3, point, 0.99).driver()
    assert alone is not None
    assert alone.area_px == 0
    assert alone.xyxy.tolist() == pytest.approx([250, 170, 250, 170], abs=0.05)


def test_nothing_above_the_minimum_score_is_no_face() -> None:
    assert Output().driver() is None
    box = (20, 20, 60, 60)
    assert Output().sees(9, box, 0.49).sees(700, box, 0.49).driver() is None
    assert_is(Output().sees(9, box, 0.51).driver(), box, 0.51)


def test_what_scores_too_little_moves_no_box() -> None:
    box = (20, 20, 60, 60)
    assert_is(Output().sees(9, box, 0.7).sees(700, (24, 20, 64, 60), 0.49).driver(), box, 0.7)


def test_logits_without_measure_are_no_error() -> None:
    output = Output().sees(9, (20, 20, 60, 60), 0.7)
    output.logits[9] = 1e30
    output.logits[10] = -1e30
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert_is(output.driver(), (20, 20, 60, 60), 1)
