"""What the way in which the object model runs costs in accuracy, beside torch in float32.

    python -m benchmarks.accuracy

On a CPU it runs in OpenVINO, in bfloat16 where the processor has that.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ceiling import IMAGE_SIZE_PX, Image
from models.evaluate import LOWEST_CONFIDENCE, Detect, label_matches
from models.fetch import default_data_dir
from models.labelled import picture_sets
from models.objects import LABELS, OWN_WEIGHTS, ObjectModel, checkpoint
from models.scores import Match, score
from models.types import Detection
from serve_app.settings import PROJECT

MATERIAL = PROJECT.parent / "shared" / "data"
"""Labelled pictures, of which no clone has a copy: `dev`, and of `train` what the model was not trained on."""


def ap50_changes(material: Path = MATERIAL) -> dict[str, float] | None:
    """Points (hundredths) of AP50 that each label loses, below 0 where it gains; their mean is that of mAP50.

    Returns:
        None without the pictures.
    """
    if not material.is_dir():
        return None
    cache = default_data_dir() / "models" / "exports"
    model = ObjectModel(weights=OWN_WEIGHTS, cache=cache, image_size_px=IMAGE_SIZE_PX, confidence=LOWEST_CONFIDENCE)
    as_trained, as_run = (_ap50(detect, material) for detect in (_in_torch(), model.detect))
    return {label: 100 * (as_trained[label] - as_run[label]) for label in as_trained}


def _in_torch() -> Detect:
    yolo = checkpoint(OWN_WEIGHTS)
    numbers = [number for number, name in yolo.names.items() if name.lower() in LABELS]

    def detect(images: Sequence[Image]) -> list[tuple[Detection, ...]]:
        results = yolo.predict(
            list(images), imgsz=IMAGE_SIZE_PX, conf=LOWEST_CONFIDENCE, classes=numbers, device="cpu", verbose=False
        )
        return [
            tuple(
                Detection(LABELS[yolo.names[int(number)].lower()], confidence, (left, top, right, bottom))
                for left, top, right, bottom, confidence, number in result.boxes.data.tolist()
            )
            for result in results
        ]

    return detect


def _ap50(detect: Detect, material: Path) -> dict[str, float]:
    found: dict[str, list[Match]] = defaultdict(list)
    held_out = (one for one in picture_sets(material / "train") if one.name.endswith("/valid"))
    for one in (*picture_sets(material / "dev"), *held_out):
        for label, matches in label_matches(detect, one).items():
            found[label] += matches
    scores = {label: score(matches).map50 for label, matches in found.items()}
    return {label: value for label, value in scores.items() if value is not None}


def main() -> None:
    """Print one line."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    changes = ap50_changes()
    if changes is None:
        print("not measured: no pictures")
    else:
        print("points of AP50 lost:", ", ".join(f"{label} {points:.2f}" for label, points in changes.items()))


if __name__ == "__main__":
    main()
