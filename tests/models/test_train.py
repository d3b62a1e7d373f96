"""What training does before and between its runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import torch

from models.objects import OWN_WEIGHTS, checkpoint, keep_quiet
from models.picture import read_picture
from models.train import NAMES, mix, paste_drinks

SHIFT = 1.0
CUP_BGR = (0, 200, 0)


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """The values of the project's weights, all moved by `SHIFT`."""
    keep_quiet(tmp_path)
    values = checkpoint(OWN_WEIGHTS).model.float().state_dict()
    path = tmp_path / "start.pt"
    torch.save({name: value - SHIFT if value.is_floating_point() else value for name, value in values.items()}, path)
    return path


def test_weights_lie_between_before_and_after_by_their_part_of_the_network(start: Path, tmp_path: Path) -> None:
    out = tmp_path / "mixed.pt"
    mix(OWN_WEIGHTS, start, out, backbone=0.25, head=0.75)
    before, after = torch.load(start), checkpoint(out).model.float().state_dict()
    cigarette = NAMES.index("cigarette")
    for name, share in {
        "model.0.conv.weight": 0.25,
        "model.10.cv1.conv.weight": 0.25,
        "model.13.cv1.conv.weight": 0.75,
        "model.23.cv2.0.0.conv.weight": 0.75,
        "model.22.cv1.conv.weight": 0.0,
        "model.23.cv3.2.2.weight": 0.0,
    }.items():
        assert (after[name] - before[name]).mean() == pytest.approx(share * SHIFT, abs=2e-3), name
    rows = (after["model.23.cv3.0.2.bias"] - before["model.23.cv3.0.2.bias"]).tolist()
    assert rows == pytest.approx([0.75 if number != cigarette else 1.0 for number in range(len(NAMES))], abs=0.02)
    assert not list(tmp_path.glob("*unfinished*"))


class Teacher:
    """Sees a cup in the middle half of every picture."""

    names: ClassVar = {41: "cup"}

    def predict(self, _image: object, **_: object) -> list[Any]:
        boxes = SimpleNamespace(xyxyn=np.array([[0.25, 0.25, 0.75, 0.75]]), cls=np.array([41.0]))
        return [SimpleNamespace(boxes=boxes)]


def test_a_drink_is_pasted_where_nothing_is_labelled_and_is_labelled_itself(tmp_path: Path) -> None:
    for folder in ("images", "labels", "drinks"):
        (tmp_path / folder).mkdir()
    cup = np.zeros((80, 80, 3), np.uint8)
    cup[20:60, 20:60] = CUP_BGR
    cv2.imwrite(str(tmp_path / "drinks" / "cup.png"), cup)
    pictures = [tmp_path / "images" / f"{number:016x}-0.jpg" for number in range(5)]
    for path in pictures:
        cv2.imwrite(str(path), np.full((200, 300, 3), 60, np.uint8))
        (tmp_path / "labels" / f"{path.stem}.txt").write_text("4 0.25 0.5 0.5 1.0\n")
    made = list(paste_drinks(pictures, tmp_path / "drinks", Teacher()))
    assert [path.name for path in made] == [f"{0:016x}-drink.jpg", f"{4:016x}-drink.jpg"]
    for path in made:
        cigarette, drink = (tmp_path / "labels" / f"{path.stem}.txt").read_text().splitlines()
        number, x, y, width, _ = map(float, drink.split())
        assert cigarette.startswith("4 ") and number == NAMES.index("cup")
        assert x - width / 2 >= 0.5, "not over the cigarette"
        assert np.abs(read_picture(path)[round(y * 200), round(x * 300)].astype(int) - CUP_BGR).max() < 20
