"""How right models and policy are on labelled material: `python -m models.evaluate --data DIR --out report.json`.

Read in `--data` and below it (see `models.labelled`): sets in YOLO's layout, folders of one class each, clips with a
CSV of intervals. Prints a table and writes the same as JSON:

    {"labels": {label: {precision, recall, map50, pictures, boxes}},          every set together, at `--image-size`
     "sets": [{set, image_size_px, label, precision, recall, map50, pictures, boxes}],      set by set, at every size
     "eyes": {"closed" | "open" | "yawn": {precision, recall, faces}, "no_face": n, "unknown": n},
     "events": [{clip, kind, found, missed, false, onset_error_s}],
     "ms_per_frame": x, "models": "...", "policy": "..."}

Objects count at `OBJECT_CONFIDENCE` 0.25 and an overlap (IoU) of 0.5, mAP50 over all confidences. In a folder of one
class a picture counts as a whole. A clip's events are right when the same rules, fed with its intervals in place of
what the models saw, give an event of that kind, at a time that overlaps.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from models.errors import one_line
from models.events import Event
from models.face import FaceModel
from models.fetch import default_data_dir, fetch
from models.labelled import (
    EYES,
    OBJECTS,
    EyeLabel,
    LabelledClip,
    MaterialError,
    Picture,
    PictureSet,
    labelled_clips,
    picture_sets,
)
from models.objects import OWN_WEIGHTS, ObjectModel
from models.packs import PACKS
from models.picture import read_picture
from models.policy import Policy
from models.profiles import PROFILES, Profile, ProfileName
from models.scores import CONFIDENCE, EventScore, Match, compare, match, rounded, score, true_events
from models.senses import Senses
from models.types import Detection, Face, Observation

LOWEST_CONFIDENCE: Final = 0.01
"""For mAP50."""
BATCH: Final = 8

Image = NDArray[np.uint8]
Detect = Callable[[Sequence[Image]], list[tuple[Detection, ...]]]
_T = TypeVar("_T")


def main() -> int:
    """The command; answers with its exit code."""
    parser = argparse.ArgumentParser(prog="python -m models.evaluate", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled material")
    parser.add_argument("--out", type=Path, required=True, help="the report, JSON")
    parser.add_argument("--weights", type=Path, help="of the object model (default: the project's own)")
    parser.add_argument("--image-size", type=int, nargs="+", default=[320, 640], help="px; `labels` are of the first")
    parser.add_argument("--truth", type=Path, help="folder with the CSVs of clips that have none beside them")
    parser.add_argument("--profile", choices=get_args(ProfileName), default="default")
    parser.add_argument("--pack", choices=list(PACKS), help="of the face models (default: the best there is)")
    arguments = parser.parse_args()
    try:
        if not arguments.data.is_dir():
            raise MaterialError(f"--data {arguments.data}: should be a folder")
        report = evaluate(
            arguments.data,
            weights=arguments.weights,
            sizes_px=arguments.image_size,
            truth=arguments.truth,
            profile=PROFILES[arguments.profile],
            pack=arguments.pack,
        )
        arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{one_line(error)}\n")
        return 1
    sys.stdout.writelines(f"{line}\n" for line in _table(report))
    return 0


def evaluate(
    data: Path,
    *,
    weights: Path | None,
    sizes_px: Sequence[int],
    truth: Path | None,
    profile: Profile,
    pack: str | None,
) -> dict[str, Any]:
    """The report, see above.

    Raises:
        MaterialError: The material cannot be read, or there is none.
        OSError: Model files are not to be had.
        ValueError: The weights cannot be used.
    """
    files = fetch(default_data_dir(), say=lambda _: None)
    chosen = next((one for one in PACKS.values() if one.name == pack), files.face_pack)
    face = FaceModel(pack=chosen, folder=files.face_folder)
    sets, clips = list(picture_sets(data)), list(labelled_clips(data, truth))
    if not sets and not clips:
        raise MaterialError(f"--data {data}: holds no set of pictures and no clip with a CSV of intervals")
    models = {size: _object_model(weights or OWN_WEIGHTS, size) for size in sizes_px}
    rows: list[dict[str, Any]] = []
    together: dict[str, list[Match]] = defaultdict(list)
    for size_px, model in models.items():
        for one in sets:
            for label, matches in label_matches(model.detect, one).items():
                rows.append({"set": one.name, "image_size_px": size_px, "label": label, **asdict(score(matches))})
                if size_px == sizes_px[0]:
                    together[label] += matches
    first = models[sizes_px[0]]
    return {
        "labels": {label: asdict(score(matches)) for label, matches in sorted(together.items())},
        "sets": rows,
        "eyes": _eyes(face, sets, profile),
        "events": [asdict(one) for clip in clips for one in _events(clip, face, first, profile)],
        "ms_per_frame": _ms_per_frame(face, first, sets, clips),
        "models": f"{first.name} {chosen.name}",
        "policy": f"{profile.name}@{profile.version}",
    }


def _object_model(weights: Path, size_px: int) -> ObjectModel:
    cache = default_data_dir() / "models" / "exports"
    return ObjectModel(weights=weights, cache=cache, image_size_px=size_px, confidence=LOWEST_CONFIDENCE)


def label_matches(detect: Detect, one: PictureSet) -> dict[str, list[Match]]:
    """Of every label that the set knows, a match for each picture.

    Args:
        detect: As `ObjectModel.detect`.
        one: The set.

    Raises:
        ValueError: A picture cannot be read.
    """
    labels = sorted({OBJECTS[name] for name in one.classes if name in OBJECTS})
    matches: dict[str, list[Match]] = {label: [] for label in labels}
    if not labels:
        return {}
    for pictures in _batches(one.pictures):
        images = [read_picture(picture.path) for picture in pictures]
        for picture, image, detections in zip(pictures, images, detect(images), strict=True):
            height, width = image.shape[:2]
            for label in labels:
                found = [detection for detection in detections if detection.label == label]
                if one.boxed:
                    scale = (width, height, width, height)
                    there = [
                        (box.xyxy[0] * scale[0], box.xyxy[1] * scale[1], box.xyxy[2] * scale[2], box.xyxy[3] * scale[3])
                        for box in picture.boxes
                        if OBJECTS.get(box.name) == label
                    ]
                    matches[label].append(match(found, there))
                else:
                    is_there = OBJECTS.get(picture.name or "") == label
                    best = max((detection.confidence for detection in found), default=None)
                    confidences, right = ((best,), (is_there,)) if best is not None else ((), ())
                    matches[label].append(Match(confidences, right, int(is_there), boxed=False))
    return matches


def _eyes(face: FaceModel, sets: Sequence[PictureSet], profile: Profile) -> dict[str, Any]:
    """Every face with labelled eyes or mouth, once: what the label says against what is read off the face."""
    counts: dict[EyeLabel, dict[str, int]] = {
        label: {"right": 0, "said": 0, "there": 0} for label in get_args(EyeLabel)
    }
    no_face = unknown = 0
    for one in sets:
        if not any(name in EYES for name in one.classes):
            continue
        for picture in one.pictures:
            image = read_picture(picture.path)
            [seen] = face.observe([image])
            there = eye_labels(picture, seen, image)
            if not there:
                continue
            if seen is None:
                no_face += 1
                continue
            reading = Senses(profile).read(seen, 0.0)
            unknown += reading.eyes_closed is None and bool(there & {"closed", "open"})
            said: dict[EyeLabel, bool] = {
                "closed": reading.eyes_closed is True,
                "open": reading.eyes_closed is False,
                "yawn": reading.mouth_open,
            }
            for label, is_said in said.items():
                if label != "yawn" and not there & {"closed", "open"}:
                    continue
                counts[label]["there"] += label in there
                counts[label]["said"] += is_said
                counts[label]["right"] += is_said and label in there
    report: dict[str, Any] = {
        label: {
            "precision": rounded(n["right"] / n["said"]) if n["said"] else None,
            "recall": rounded(n["right"] / n["there"]) if n["there"] else None,
            "faces": n["there"],
        }
        for label, n in counts.items()
    }
    return {**report, "no_face": no_face, "unknown": unknown}


def eye_labels(picture: Picture, face: Face | None, image: Image) -> set[EyeLabel]:
    """What is labelled in the driver's face; without one, anywhere. One open and one closed eye say nothing."""
    if picture.name is not None:
        return {EYES[picture.name]} if picture.name in EYES else set()
    height, width = image.shape[:2]
    found: set[EyeLabel] = set()
    for box in picture.boxes:
        label = EYES.get(box.name)
        x, y = (box.xyxy[0] + box.xyxy[2]) / 2 * width, (box.xyxy[1] + box.xyxy[3]) / 2 * height
        inside = face is None or (face.xyxy[0] <= x <= face.xyxy[2] and face.xyxy[1] <= y <= face.xyxy[3])
        if label is not None and inside:
            found.add(label)
    return found - {"closed", "open"} if {"closed", "open"} <= found else found


def _events(clip: LabelledClip, face: FaceModel, objects: ObjectModel, profile: Profile) -> Iterator[EventScore]:
    policy = Policy(profile)
    times_s: list[float] = []
    known: dict[int, Event] = {}
    for frames in _batches(_frames(clip.path)):
        images = [image for _, image in frames]
        for (at_s, _), seen, found in zip(frames, face.observe(images), objects.detect(images), strict=True):
            confident = tuple(one for one in found if one.confidence >= CONFIDENCE)
            metrics = policy.step(Observation(confident, seen), at_s)
            known.update({event.number: event for event in metrics.events})
            times_s.append(at_s)
    known.update({event.number: event for event in policy.end()})
    yield from compare(clip.path.name, true_events(clip, times_s, profile), known.values())


def _frames(path: Path) -> Iterator[tuple[float, Image]]:
    import av  # noqa: PLC0415 - heavy

    try:
        with av.open(path) as file:
            for frame in file.decode(video=0):
                turned = np.rot90(frame.to_ndarray(format="bgr24"), round(frame.rotation / 90))
                yield float(frame.time or 0.0), np.ascontiguousarray(turned, dtype=np.uint8)
    except (av.FFmpegError, IndexError) as error:
        raise MaterialError(f"{path}: not a video that can be read ({one_line(error)})") from error


def _ms_per_frame(
    face: FaceModel, objects: ObjectModel, sets: Sequence[PictureSet], clips: Sequence[LabelledClip]
) -> float | None:
    """Of decoding and both models on batches of 8 frames of 640x480; the median of 20 batches."""
    import cv2  # noqa: PLC0415 - heavy

    first = next((one.pictures[0].path for one in sets if one.pictures), None)
    image = read_picture(first) if first else next((image for _, image in _frames(clips[0].path)), None)
    if image is None:
        return None
    _, jpeg = cv2.imencode(".jpg", cv2.resize(image, (640, 480)))
    took_s = []
    for _ in range(20):
        began_s = time.perf_counter()
        images = [np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), dtype=np.uint8) for _ in range(BATCH)]
        face.observe(images)
        objects.detect(images)
        took_s.append(time.perf_counter() - began_s)
    return round(1000 * median(took_s) / BATCH, 2)


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    """One of them in memory at a time."""
    left = iter(items)
    while batch := list(islice(left, BATCH)):
        yield batch


def _table(report: Mapping[str, Any]) -> Iterator[str]:
    def of(value: float | None, form: str = ".2f") -> str:
        return "-" if value is None else format(value, form)

    yield f"{report['models']}, {report['policy']}, {of(report['ms_per_frame'], '.1f')} ms a frame"
    heads = f"{'pictures':>8s} {'boxes':>6s} {'recall':>7s} {'precision':>9s} {'mAP50':>6s}"
    yield f"{'set':34s} {'px':>4s} {'label':10s} {heads}"
    for row in report["sets"]:
        numbers = f"{of(row['recall']):>7s} {of(row['precision']):>9s} {of(row['map50']):>6s}"
        sizes = f"{row['pictures']:8d} {row['boxes']:6d}"
        yield f"{row['set']:34s} {row['image_size_px']:4d} {row['label']:10s} {sizes} {numbers}"
    yield f"{'eyes and mouth':34s} {'faces':>6s} {'recall':>7s} {'precision':>9s}"
    for label, row in report["eyes"].items():
        if isinstance(row, dict):
            yield f"  {label:32s} {row['faces']:6d} {of(row['recall']):>7s} {of(row['precision']):>9s}"
    yield f"{'event':34s} {'kind':18s} {'found':>6s} {'missed':>6s} {'false':>6s} {'onset s':>8s}"
    for row in report["events"]:
        numbers = f"{row['found']:6d} {row['missed']:6d} {row['false']:6d} {of(row['onset_error_s']):>8s}"
        yield f"  {row['clip']:32s} {row['kind']:18s} {numbers}"


if __name__ == "__main__":
    raise SystemExit(main())
