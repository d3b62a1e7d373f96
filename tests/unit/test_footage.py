"""Which frames become footage."""

from __future__ import annotations

from models.footage import FootageRing
from tests.builders import frame


def keep(ring: FootageRing, *, frames: range, flagged: set[int]) -> list[int]:
    """The numbers of the frames kept, at 10 frames a second."""
    return [kept.seq for seq in frames for kept in ring.step(frame(seq), flagged=seq in flagged)]


def test_without_rolls_the_flagged_frames_are_the_footage() -> None:
    ring = FootageRing(pre_roll_s=0, post_roll_s=0)
    assert keep(ring, frames=range(100), flagged={3, 4, 50}) == [3, 4, 50]


def test_nothing_flagged_leaves_nothing() -> None:
    assert keep(FootageRing(pre_roll_s=5, post_roll_s=5), frames=range(100), flagged=set()) == []


def test_the_rolls_are_as_long_as_asked() -> None:
    ring = FootageRing(pre_roll_s=0.5, post_roll_s=0.25)
    assert keep(ring, frames=range(100), flagged={50}) == list(range(45, 53))


def test_rolls_that_overlap_take_each_frame_once_and_in_order() -> None:
    ring = FootageRing(pre_roll_s=1, post_roll_s=1)
    assert keep(ring, frames=range(100), flagged={20, 25, 44}) == list(range(10, 55))


def test_rolls_that_do_not_meet_leave_a_gap() -> None:
    ring = FootageRing(pre_roll_s=0.5, post_roll_s=0.5)
    assert keep(ring, frames=range(100), flagged={20, 60}) == [*range(15, 26), *range(55, 66)]


def test_a_trip_that_begins_flagged_has_no_pre_roll() -> None:
    assert keep(FootageRing(pre_roll_s=2, post_roll_s=0), frames=range(5), flagged={0}) == [0]


def test_after_a_gap_in_time_old_frames_are_no_pre_roll() -> None:
    ring = FootageRing(pre_roll_s=1, post_roll_s=0)
    for seq in range(10):
        assert ring.step(frame(seq, seq / 10), flagged=False) == []
    assert [kept.seq for kept in ring.step(frame(10, 60.0), flagged=True)] == [10]
