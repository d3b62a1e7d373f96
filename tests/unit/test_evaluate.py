"""What the evaluation reads and counts."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.events import Event
from models.labelled import Interval, LabelledClip, MaterialError, labelled_clips, picture_sets
from models.profiles import PROFILES
from models.scores import Match, compare, match, overlap, score, true_events
from models.types import Detection


def yolo_set(root: Path, names: str, **labels: str) -> Path:
    """A set in YOLO's layout: the lines of each picture's labels by its name."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    (root / "data.yaml").write_text(f"names: {names}\n")
    for name, lines in labels.items():
        picture(root / "images" / f"{name}.jpg")
        (root / "labels" / f"{name}.txt").write_text(lines)
    return root


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(1).integers(0, 255, (48, 64, 3)).astype(np.uint8))


def found(confidence: float, *xyxy: float) -> Detection:
    left, top, right, bottom = xyxy
    return Detection("phone", confidence, (left, top, right, bottom))


def test_a_set_of_yolo_is_read_with_boxes_and_outlines(tmp_path: Path) -> None:
    outline = "1 0.1 0.1 0.3 0.1 0.3 0.5"
    yolo_set(tmp_path / "phones", "['Cellphone_calling', 'Person']", a=f"0 0.5 0.5 0.2 0.4\n{outline}\n", b="")
    [one] = picture_sets(tmp_path)
    assert (one.name, one.classes, one.boxed) == ("phones", ("cellphone_calling", "person"), True)
    first, second = one.pictures
    assert [box.name for box in first.boxes] == ["cellphone_calling", "person"]
    assert first.boxes[0].xyxy == pytest.approx((0.4, 0.3, 0.6, 0.7))
    assert first.boxes[1].xyxy == pytest.approx((0.1, 0.1, 0.3, 0.5))
    assert second.boxes == ()


def test_splits_are_sets_of_their_own(tmp_path: Path) -> None:
    yolo_set(tmp_path / "set" / "train", "{0: smoke}", a="0 0.5 0.5 0.2 0.4")
    (tmp_path / "set" / "train" / "data.yaml").rename(tmp_path / "set" / "data.yaml")
    picture(tmp_path / "set" / "valid" / "images" / "b.jpg")
    assert [(one.name, len(one.pictures)) for one in picture_sets(tmp_path)] == [("set/train", 1), ("set/valid", 1)]


def test_a_folder_for_each_class_is_a_set(tmp_path: Path) -> None:
    for name in ("Phone/a.jpg", "Phone/b.png", "none/c.jpg"):
        picture(tmp_path / "by_class" / name)
    [one] = picture_sets(tmp_path)
    assert (one.name, one.classes, one.boxed) == ("by_class", ("phone", "none"), False)
    assert [(each.path.name, each.name) for each in one.pictures] == [
        ("a.jpg", "phone"),
        ("b.png", "phone"),
        ("c.jpg", "none"),
    ]


@pytest.mark.parametrize(
    ("names", "lines", "said"),
    [
        ("nonsense", "", "expected `names`"),
        ("[a]", "0 0.5 0.5", "is no box"),
        ("[a]", "3 0.5 0.5 0.1 0.1", "is no box"),
    ],
)
def test_what_is_no_set_is_said_in_one_line(tmp_path: Path, names: str, lines: str, said: str) -> None:
    yolo_set(tmp_path / "set", names, a=lines)
    with pytest.raises(MaterialError, match=said):
        list(picture_sets(tmp_path))


def test_a_clip_is_read_with_the_table_beside_it_or_elsewhere(tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    truth.mkdir()
    for folder, name in ((tmp_path, "one"), (truth, "two")):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["start_s", "end_s", "what"], [1, 2.5, "eyes closed"], [4, 6, "phone_use"]])
    for name in ("one.mp4", "two.mp4", "three.mp4"):
        (tmp_path / name).touch()
    clips = {clip.path.name: clip.intervals for clip in labelled_clips(tmp_path, truth)}
    intervals = (Interval(1.0, 2.5, "eyes_closed"), Interval(4.0, 6.0, "phone"))
    assert clips == {"one.mp4": intervals, "two.mp4": intervals}


def test_a_table_with_an_unknown_word_is_said(tmp_path: Path) -> None:
    (tmp_path / "one.mp4").touch()
    (tmp_path / "one.csv").write_text("start_s,end_s,what\n0,1,dancing\n")
    with pytest.raises(MaterialError, match="dancing"):
        list(labelled_clips(tmp_path))


def test_overlap_is_the_shared_part_of_both() -> None:
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_each_box_is_found_once_by_the_most_confident() -> None:
    boxes = [(0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)]
    made = match([found(0.5, 0, 0, 10, 11), found(0.9, 0, 0, 10, 10), found(0.3, 80, 80, 90, 90)], boxes)
    assert made == Match((0.9, 0.5, 0.3), (True, False, False), 2, boxed=True)


def test_precision_and_recall_count_at_the_default_confidence_and_map_at_all() -> None:
    made = score(
        [
            Match((0.9, 0.2), (True, True), 2, boxed=True),
            Match((0.8,), (False,), 0, boxed=True),
            Match((), (), 1, boxed=True),
        ]
    )
    assert (made.precision, made.recall) == (0.5, 0.333)
    assert made.map50 is not None and 0.4 < made.map50 < 0.7
    assert (made.pictures, made.boxes) == (3, 3)


def test_nothing_found_has_no_precision_and_nothing_there_no_recall() -> None:
    empty = score([Match((), (), 1, boxed=True)])
    assert (empty.precision, empty.recall, empty.map50) == (None, 0.0, 0.0)
    none = score([Match((0.5,), (False,), 0, boxed=False)])
    assert (none.precision, none.recall, none.map50) == (0.0, None, None)


def test_the_truth_of_a_clip_is_what_the_rules_make_of_it() -> None:
    clip = LabelledClip(Path("clip.mp4"), (Interval(2.0, 6.0, "eyes_closed"), Interval(10.0, 10.8, "head_away")))
    [event] = true_events(clip, [tick / 10 for tick in range(150)], PROFILES["default"])
    assert event.kind == "sleep"
    assert (event.started_s, event.ended_s) == pytest.approx((2.0, 6.0))


def test_events_are_found_missed_or_false() -> None:
    def event(kind: str, started_s: float, ended_s: float) -> Event:
        return Event(1, kind, "high", started_s, ended_s, {}, 1.0)  # type: ignore[arg-type]

    wanted = [event("sleep", 2.0, 6.0), event("yawn", 10.0, 13.0)]
    had = [event("sleep", 2.3, 6.2), event("sleep", 30.0, 34.0), event("phone_use", 1.0, 4.0)]
    made = {one.kind: (one.found, one.missed, one.false, one.onset_error_s) for one in compare("clip", wanted, had)}
    assert made == {"phone_use": (0, 0, 1, None), "sleep": (1, 0, 1, 0.3), "yawn": (0, 1, 0, None)}


def test_no_material_is_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        done = subprocess.run(
            [sys.executable, "-m", "models.evaluate", "--data", str(folder), "--out", str(tmp_path / "report.json")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1 and str(folder) in done.stderr
