"""How right the face stage is on labelled pictures, and what the thresholds of `models.packs` rest on.

    python -m benchmarks.face_accuracy --models DIR --data DIR [--reference landmarks.npz]

`--data` is the folder of the dev pictures, `--reference` comes from `mediapipe_reference.py`. For a clip: `clip_table`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from models.evaluate import eye_labels
from models.face import FaceModel
from models.labelled import EyeLabel, picture_sets
from models.packs import PACKS, FacePack
from models.picture import read_picture
from models.profiles import PROFILES
from models.senses import Senses
from models.types import Face

Image = NDArray[np.uint8]

_LABELLED = "yawn_eye_sehyunlee_test"
_CLOSED, _OPEN, _YAWN = 0, 1, 2
_OUTER_EYE_CORNERS = (33, 263)


@dataclass(frozen=True, slots=True)
class Labelled:
    """One labelled box and the face that it lies in, if one was detected."""

    picture: str
    kind: int
    face: Face | None


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--reference", type=Path)
    arguments = parser.parse_args()
    pictures = sorted(arguments.data.rglob("*.jpg"))
    for pack in PACKS.values():
        model = FaceModel(pack=pack, folder=arguments.models)
        print(f"\n=== {pack.name}: closed below {pack.ear_closed_below}, mouth open above {pack.mar_open_above}")
        labelled = list(read_labels(model, arguments.data / _LABELLED))
        print_measures(labelled)
        print_small(model, arguments.data)
        print_eyes(labelled, pack)
        print_percentiles(labelled)
        print_awake(model, pictures)
        if arguments.reference:
            print_agreement(model, arguments.data, arguments.reference)


def read_labels(model: FaceModel, folder: Path) -> Iterator[Labelled]:
    """Every labelled box of a set in YOLO's format, with the driver's face if the middle of the box lies in it."""
    for path in sorted(folder.glob("images/*.jpg")):
        image = read_picture(path)
        height, width = image.shape[:2]
        [face] = model.observe([image])
        for line in (folder / "labels" / f"{path.stem}.txt").read_text().splitlines():
            # A box, or the outline of one as a polygon.
            kind, *numbers = line.split()
            xy = np.array(numbers, dtype=float).reshape(-1, 2)
            x, y = (xy[0] if len(xy) == 2 else (xy.min(axis=0) + xy.max(axis=0)) / 2) * (width, height)
            inside = face and face.xyxy[0] <= x <= face.xyxy[2] and face.xyxy[1] <= y <= face.xyxy[3]
            yield Labelled(path.name, int(kind), face if inside else None)


def print_eyes(labelled: Sequence[Labelled], pack: FacePack) -> None:
    """Share of the eye boxes whose face is called what the label says."""
    eyes = [box for box in labelled if box.kind in (_CLOSED, _OPEN)]
    right: dict[int, list[bool]] = {_CLOSED: [], _OPEN: []}
    for box in eyes:
        if box.face:
            right[box.kind].append((box.face.ear < pack.ear_closed_below) == (box.kind == _CLOSED))
    closed, opened = right[_CLOSED], right[_OPEN]
    print(
        f"eye boxes {len(eyes)} in {len({box.picture for box in eyes})} pictures, in a detected face"
        f" {len(closed) + len(opened)}: accuracy {np.mean(closed + opened):.3f},"
        f" closed recall {np.mean(closed):.3f} of {len(closed)}, open recall {np.mean(opened):.3f} of {len(opened)}"
    )


def print_measures(labelled: Sequence[Labelled]) -> None:
    """How well each measure, and both, tells closed eyes from open ones and yawns from the rest; each face once.

    The area under the curve needs no limit. Both together: the mean of their ranks.
    """
    kinds: dict[str, set[int]] = {}
    for box in labelled:
        kinds.setdefault(box.picture, set()).add(box.kind)
    faces = {box.picture: box.face for box in labelled if box.face}
    eyes = [name for name in faces if len(kinds[name] & {_CLOSED, _OPEN}) == 1]
    for title, names, kind, measures in (
        ("eyes closed", eyes, _CLOSED, {"EAR": "ear", "eyeBlink": "eye_blink"}),
        ("yawn", list(faces), _YAWN, {"MAR": "mar", "jawOpen": "jaw_open"}),
    ):
        there = np.array([kind in kinds[name] for name in names])
        ranks = {}
        for measure, field in measures.items():
            values = [getattr(faces[name], field) for name in names]
            if None not in values:
                ranks[measure] = np.argsort(np.argsort(values)) * (-1 if field == "ear" else 1)
        if len(ranks) > 1:
            ranks["both"] = np.sum(list(ranks.values()), axis=0)
        areas = {
            name: float(np.mean([(one > rank[~there]) + (one == rank[~there]) / 2 for one in rank[there]]))
            for name, rank in ranks.items()
        }
        print(
            f"{title}: {there.sum()} faces of {len(there)}, area under the curve "
            + str({name: round(area, 3) for name, area in areas.items()})
        )


def print_small(model: FaceModel, data: Path) -> None:
    """What profile `default` reads off the labelled faces as their pictures get smaller."""
    [one] = [found for found in picture_sets(data) if found.name == _LABELLED]
    known = []
    for picture in one.pictures:
        image = read_picture(picture.path)
        [face] = model.observe([image])
        if face and (labels := eye_labels(picture, face, image)):
            known.append((image, face, labels))
    for width_px in (100, 80, 60, 40, 30, 25, 20, 15, 10):
        right, found = Counter[str](), Counter[str]()
        seen = seen_in_frame = 0
        for image, face, labels in known:
            scale = width_px / (face.xyxy[2] - face.xyxy[0])
            shrunk = np.asarray(
                cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), dtype=np.uint8
            )
            height, width = shrunk.shape[:2]
            frame = np.full((max(height, 480), max(width, 640), 3), 110, np.uint8)
            frame[:height, :width] = shrunk
            small, in_frame = model.observe([shrunk, frame])
            seen += small is not None
            seen_in_frame += in_frame is not None
            if small is None:
                continue
            reading = Senses(PROFILES["default"]).read(small, 0.0)
            said = {
                "closed": reading.eyes_closed is True,
                "open": reading.eyes_closed is False,
                "yawn": reading.mouth_open,
            }
            for label in labels:
                found[label] += 1
                right[label] += said[label]
        read = ", ".join(f"{label} {right[label]} of {found[label]}" for label in get_args(EyeLabel))
        print(
            f"face {width_px:3d} px wide: {seen} of {len(known)} found, {seen_in_frame} in a frame of 640x480;"
            f" right of those found: {read}"
        )


def print_percentiles(labelled: Sequence[Labelled]) -> None:
    """Eye and mouth opening by label, each face once."""
    for kind, name in ((_CLOSED, "closed"), (_OPEN, "open"), (_YAWN, "yawn")):
        faces = list({box.picture: box.face for box in labelled if box.kind == kind and box.face}.values())
        print(
            f"{name:>7}: {len(faces):3d} faces, EAR {spread(f.ear for f in faces)}, MAR {spread(f.mar for f in faces)}"
        )
    yawning = {box.picture for box in labelled if box.kind == _YAWN}
    quiet = {box.picture: box.face for box in labelled if box.face and box.picture not in yawning}
    print(f"no yawn: {len(quiet):3d} faces, MAR {spread(face.mar for face in quiet.values())}")


def print_awake(model: FaceModel, pictures: Sequence[Path]) -> None:
    """Mouth and head of faces that are seen from the front with a shut mouth, in all pictures."""
    faces = [face for path in pictures for face in model.observe([read_picture(path)]) if face]
    front = [f for f in faces if abs(f.yaw_deg) < 15 and abs(f.roll_deg) < 30 and f.mar < 0.8]
    print(f"{len(faces)} faces in {len(pictures)} pictures, {len(front)} of them frontal with a shut mouth:")
    print(f"         pitch {spread((f.pitch_deg for f in front), '.0f')} deg, MAR {spread(f.mar for f in front)}")


def print_agreement(model: FaceModel, data: Path, reference: Path) -> None:
    """Distance of the points from the nearest of the reference's faces, in shares of the distance of the eyes."""
    distances = []
    missed = 0
    with np.load(reference) as arrays:
        for name in arrays.files:
            [mine] = model.landmarks([read_picture(data / name)])
            if mine is None:
                missed += 1
                continue
            faces = arrays[name][:, : len(mine)]
            left, right = (faces[:, number] for number in _OUTER_EYE_CORNERS)
            apart = np.linalg.norm(faces - mine[: faces.shape[1], :2], axis=2)
            distances.append(float((np.median(apart, axis=1) / np.linalg.norm(left - right, axis=1)).min()))
    print(
        f"landmarks against the reference, {len(distances)} pictures with a face in both ({missed} only there):"
        f" distance / outer eye distance {spread(distances, '.4f')}, above 0.05 in {sum(d > 0.05 for d in distances)}"
    )


def spread(values: Iterable[Any], form: str = ".2f") -> str:
    """The 5, 10, 50, 90 and 95 % percentiles."""
    found = list(values)
    return " / ".join(format(v, form) for v in np.percentile(found, [5, 10, 50, 90, 95])) if found else "none"


if __name__ == "__main__":
    main()
