"""Counting: what was found against what is there, of boxes and of events. Pure but for the average precision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np

from models.events import Event, Events, Signs
from models.labelled import LabelledClip
from models.profiles import Profile
from models.types import Detection

CONFIDENCE: Final = 0.25
"""The default of `OBJECT_CONFIDENCE`."""
OVERLAP: Final = 0.5


@dataclass(frozen=True, slots=True)
class Score:
    """Of one label on some pictures.

    Args:
        precision: Of what was found, the share that is there; None: nothing was found.
        recall: Of what is there, the share that was found; None: nothing is there.
        map50: Mean average precision at an overlap of 0.5; None without boxes.
        pictures: That were looked at.
        boxes: Labelled ones, or pictures of that class.
    """

    precision: float | None
    recall: float | None
    map50: float | None
    pictures: int
    boxes: int


@dataclass(frozen=True, slots=True)
class EventScore:
    """Of one kind of event on one clip.

    Args:
        clip: Its file's name.
        kind: Of `models.types.EventKind`.
        found: How many were.
        missed: How many were not.
        false: How many were found where none is.
        onset_error_s: Median of how much later than the truth's those found begin; None: none was found.
    """

    clip: str
    kind: str
    found: int
    missed: int
    false: int
    onset_error_s: float | None


@dataclass(frozen=True, slots=True)
class Match:
    """What the model found of one label in one picture, against what is there.

    Args:
        confidences: Of the detections.
        right: Whether each is there.
        there: How many are.
        boxed: Whether there are boxes, or the picture counts as a whole.
    """

    confidences: tuple[float, ...]
    right: tuple[bool, ...]
    there: int
    boxed: bool


def score(matches: Sequence[Match]) -> Score:
    """Precision, recall and mAP50 of one label over pictures."""
    from ultralytics.utils.metrics import ap_per_class  # noqa: PLC0415 - heavy

    there = sum(match.there for match in matches)
    counted = [right for m in matches for c, right in zip(m.confidences, m.right, strict=True) if c >= CONFIDENCE]
    map50: float | None = None
    boxed = [match for match in matches if match.boxed]
    if sum(match.there for match in boxed):
        right = np.array([[one] for match in boxed for one in match.right], dtype=bool).reshape(-1, 1)
        confidences = np.array([one for match in boxed for one in match.confidences])
        same, all_there = np.zeros(len(confidences)), np.zeros(sum(match.there for match in boxed))
        map50 = float(ap_per_class(right, confidences, same, all_there)[5][0, 0]) if len(confidences) else 0.0
    return Score(
        precision=rounded(sum(counted) / len(counted)) if counted else None,
        recall=rounded(sum(counted) / there) if there else None,
        map50=rounded(map50),
        pictures=len(matches),
        boxes=there,
    )


def match(found: Sequence[Detection], there: Sequence[tuple[float, float, float, float]]) -> Match:
    """Each detection, most confident first, takes the box that it overlaps most, if that is free and it is enough.

    Args:
        found: Of one label, in any order.
        there: Left, top, right, bottom in the same pixels.
    """
    free = list(there)
    ordered = sorted(found, key=lambda detection: -detection.confidence)
    right = []
    for detection in ordered:
        best = max(free, key=lambda box: overlap(detection.xyxy, box), default=None)
        hit = best is not None and overlap(detection.xyxy, best) >= OVERLAP
        if best is not None and hit:
            free.remove(best)
        right.append(hit)
    return Match(tuple(one.confidence for one in ordered), tuple(right), len(there), boxed=True)


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / either if either > 0 else 0.0


def compare(clip: str, wanted: Iterable[Event], found: Iterable[Event]) -> Iterator[EventScore]:
    """Events of the models against those of the truth, kind by kind.

    Args:
        clip: Its name.
        wanted: The truth's; all have ended.
        found: The models'; likewise.
    """
    wanted, found = list(wanted), list(found)
    for kind in sorted({event.kind for event in [*wanted, *found]}):
        left = [event for event in found if event.kind == kind]
        errors_s = []
        for event in (one for one in wanted if one.kind == kind):
            hit = next((one for one in left if _overlap_in_time(one, event)), None)
            if hit is not None:
                left.remove(hit)
                errors_s.append(hit.started_s - event.started_s)
        missed = sum(event.kind == kind for event in wanted) - len(errors_s)
        error_s = round(median(errors_s), 3) if errors_s else None
        yield EventScore(clip, kind, len(errors_s), missed, len(left), error_s)


def true_events(clip: LabelledClip, times_s: Iterable[float], profile: Profile) -> tuple[Event, ...]:
    """The events that the rules find in a clip's intervals.

    Args:
        clip: What is to be seen when.
        times_s: Of its frames.
        profile: The rules' numbers.
    """
    events = Events(profile)
    known: dict[int, Event] = {}
    for at_s in times_s:
        shown = {one.sign for one in clip.intervals if one.start_s <= at_s < one.end_s}
        signs = Signs(
            eyes_closed="eyes_closed" in shown,
            head_away="head_away" in shown,
            mouth_open="mouth_open" in shown,
            no_face=False,
            blind=False,
            phone="phone" in shown,
            smoking="smoking" in shown,
            drinking="drinking" in shown,
        )
        known.update({event.number: event for event in events.step(signs, at_s)})
    known.update({event.number: event for event in events.end()})
    return tuple(known.values())


def _overlap_in_time(one: Event, other: Event) -> bool:
    return one.started_s <= (other.ended_s or one.started_s) and other.started_s <= (one.ended_s or other.started_s)


def rounded(value: float | None) -> float | None:
    """To three decimals."""
    return None if value is None else round(value, 3)
