"""Labelled material for training and evaluation: pictures with boxes, folders of pictures, clips with intervals."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import yaml

from models.objects import LABELS
from models.types import Label

OBJECTS: Final[Mapping[str, Label]] = {
    **LABELS,
    "cellphone_calling": "phone",
    "cellphone_texting": "phone",
    "cellphone": "phone",
    "mobile phone": "phone",
    "mobile": "phone",
    "drinking": "bottle",
    "smoking": "cigarette",
    # In the sets there are, the hand and the cigarette; a model with a label of its own for it is not known.
    "smoke": "cigarette",
}
"""A set's class name, in lower case, to the contract's label. Other classes are left out."""

EyeLabel = Literal["closed", "open", "yawn"]
EYES: Final[Mapping[str, EyeLabel]] = {
    "closed": "closed",
    "close": "closed",
    "eyes closed": "closed",
    "opened": "open",
    "open": "open",
    "awake": "open",
    "yawn": "yawn",
    "yawning": "yawn",
}
"""A set's class name, in lower case, to what the face stage can say of it."""

Sign = Literal["eyes_closed", "mouth_open", "head_away", "phone", "smoking", "drinking"]
SIGNS: Final[Mapping[str, Sign]] = {
    **dict.fromkeys(("eyes closed", "closed", "sleeping", "sleep", "microsleep"), "eyes_closed"),
    **dict.fromkeys(("mouth open", "yawn", "yawning"), "mouth_open"),
    **dict.fromkeys(("head away", "not focus", "distraction", "distraction long"), "head_away"),
    **dict.fromkeys(("phone", "cell phone", "phone use"), "phone"),
    **dict.fromkeys(("cigarette", "smoke", "vape", "smoking"), "smoking"),
    **dict.fromkeys(("cup", "bottle", "drinking"), "drinking"),
}
"""What an interval shows, in lower case with blanks, to the sign that the policy reads."""

_PICTURES = {".jpg", ".jpeg", ".png"}
_CLIPS = {".mp4", ".mov", ".avi", ".mkv", ".webm"}
_WHAT = ("what", "kind", "label", "event")


class MaterialError(ValueError):
    """The material cannot be read; the message is one line that names it."""


@dataclass(frozen=True, slots=True)
class Box:
    """A labelled part of a picture.

    Args:
        name: The set's class name, in lower case.
        xyxy: Left, top, right, bottom as shares of the picture's width and height.
    """

    name: str
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a set.

    Args:
        path: Its file.
        boxes: What is labelled in it; empty in a folder of one class.
        name: Its class in such a folder, in lower case; else None.
    """

    path: Path
    boxes: tuple[Box, ...] = ()
    name: str | None = None


@dataclass(frozen=True, slots=True)
class PictureSet:
    """Pictures that were labelled together.

    Args:
        name: For a table.
        classes: The class names that it labels, in lower case. Of any other nothing is known.
        boxed: Whether it has boxes, or a class for each whole picture.
        pictures: In the order of their names.
    """

    name: str
    classes: tuple[str, ...]
    boxed: bool
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """A time in which something is to be seen.

    Args:
        start_s: Seconds from the clip's beginning.
        end_s: Likewise.
        sign: What.
    """

    start_s: float
    end_s: float
    sign: Sign


@dataclass(frozen=True, slots=True)
class LabelledClip:
    """A video and what it shows; in between, none of that.

    Args:
        path: The video.
        intervals: In the file's order.
    """

    path: Path
    intervals: tuple[Interval, ...]


def picture_sets(folder: Path) -> Iterator[PictureSet]:
    """Every set in a folder and below it: YOLO's layout (`data.yaml`, `images`, `labels`), or a folder for each class.

    Raises:
        MaterialError: A file of it cannot be understood.
    """
    yolo = sorted({path.parent for path in folder.rglob("data.yaml")})
    for root in yolo:
        names = _names(root / "data.yaml")
        for images in sorted(path for path in root.rglob("images") if path.is_dir()):
            split = "" if images.parent == root else f"/{images.parent.relative_to(root)}"
            pictures = tuple(_boxed(path, names) for path in _files(images, _PICTURES))
            yield PictureSet(root.name + split, tuple(dict.fromkeys(names.values())), boxed=True, pictures=pictures)
    plain = [
        path
        for path in sorted([folder, *folder.rglob("*")])
        if path.is_dir() and not any(path.is_relative_to(root) for root in yolo) and _files(path, _PICTURES)
    ]
    for parent in sorted({path.parent for path in plain}):
        folders = [path for path in plain if path.parent == parent]
        pictures = tuple(Picture(path, name=_plain(one.name)) for one in folders for path in _files(one, _PICTURES))
        yield PictureSet(parent.name, tuple(_plain(one.name) for one in folders), boxed=False, pictures=pictures)


def labelled_clips(folder: Path, truth: Path | None = None) -> Iterator[LabelledClip]:
    """Every clip in a folder and below it that has a CSV of its name beside it, or in `truth`.

    The CSV has a line of headings and the columns `start_s`, `end_s` and `what` (or `kind`, `label`, `event`).

    Raises:
        MaterialError: A CSV cannot be understood.
    """
    for path in sorted(one for one in folder.rglob("*") if one.suffix.lower() in _CLIPS):
        for table in [path.with_suffix(".csv"), *([truth / f"{path.stem}.csv"] if truth else [])]:
            if table.is_file():
                yield LabelledClip(path, _intervals(table))
                break


def _files(folder: Path, suffixes: set[str]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)


def _plain(name: str) -> str:
    return name.strip().lower()


def _names(path: Path) -> dict[int, str]:
    try:
        names = yaml.safe_load(path.read_text(encoding="utf-8"))["names"]
        if not isinstance(names, (dict, list)):
            raise TypeError(type(names).__name__)  # noqa: TRY301 - said below like any other
        numbered = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(number): _plain(str(name)) for number, name in numbered}
    except (yaml.YAMLError, KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise MaterialError(f"{path}: expected `names`, a list of class names ({type(error).__name__})") from error


def _boxed(path: Path, names: Mapping[int, str]) -> Picture:
    labels = path.parent.parent / "labels" / f"{path.stem}.txt"
    lines = labels.read_text(encoding="utf-8").splitlines() if labels.is_file() else []
    boxes = []
    for line in lines:
        if not line.strip():
            continue
        try:
            number, *numbers = line.split()
            boxes.append(Box(names[int(number)], _xyxy([float(one) for one in numbers])))
        except (KeyError, ValueError) as error:
            raise MaterialError(f"{labels}: {line!r} is no box: expected a class and 4 or more numbers") from error
    return Picture(path, tuple(boxes))


def _xyxy(numbers: list[float]) -> tuple[float, float, float, float]:
    """Of a box (middle, size) or of an outline (points)."""
    if len(numbers) == 4:  # noqa: PLR2004 - x, y, width, height
        x, y, width, height = numbers
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    xs, ys = numbers[0::2], numbers[1::2]
    if len(xs) != len(ys) or len(xs) < 3:  # noqa: PLR2004 - a triangle at least
        raise ValueError(f"{len(numbers)} numbers")
    return min(xs), min(ys), max(xs), max(ys)


def _intervals(path: Path) -> tuple[Interval, ...]:
    made = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            try:
                what = next(row[name] for name in _WHAT if row.get(name))
                sign = SIGNS[_plain(what).replace("_", " ")]
                made.append(Interval(float(row["start_s"]), float(row["end_s"]), sign))
            except (KeyError, ValueError, TypeError, StopIteration) as error:
                raise MaterialError(
                    f"{path}: {dict(row)}: expected start_s, end_s and what, one of {', '.join(SIGNS)}"
                ) from error
    return tuple(made)
