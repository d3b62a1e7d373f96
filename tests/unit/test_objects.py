"""What of the object model needs no model: the labels, and what is refused before anything heavy is loaded."""

from pathlib import Path
from typing import get_args

import pytest

from models.objects import LABELS, ObjectModel
from models.types import Label


def model_of(weights: Path, cache: Path) -> ObjectModel:
    return ObjectModel(weights=weights, cache=cache, image_size_px=320, confidence=0.25)


def test_the_contracts_own_names_are_themselves() -> None:
    assert {name: LABELS[name] for name in get_args(Label)} == {name: name for name in get_args(Label)}


@pytest.mark.parametrize(
    ("coco", "label"), [("cell phone", "phone"), ("bottle", "bottle"), ("wine glass", "bottle"), ("cup", "bottle")]
)
def test_coco_names_have_labels(coco: str, label: str) -> None:
    assert LABELS[coco] == label


def test_other_classes_are_dropped() -> None:
    assert LABELS == {
        "bottle": "bottle",
        "cell phone": "phone",
        "cigarette": "cigarette",
        "cup": "bottle",
        "phone": "phone",
        "smoke": "smoke",
        "vape": "vape",
        "wine glass": "bottle",
    }
    assert set(LABELS.values()) == set(get_args(Label))


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.pt: there is no such file"):
        model_of(tmp_path / "nothing.pt", tmp_path / "cache")


def test_a_file_of_another_kind_is_refused_with_what_would_be_right(tmp_path: Path) -> None:
    weights = tmp_path / "model.zip"
    weights.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"model\.zip: expected a \.pt, \.onnx or \.engine file or an OpenVINO folder"):
        model_of(weights, tmp_path / "cache")
