"""What training makes of the sets before it trains."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from models.picture import read_picture
from models.train import NAMES, paste_drinks

CUP, CIGARETTE = NAMES.index("cup"), NAMES.index("cigarette")
CUP_BGR, WALL_BGR = (0, 200, 0), (60, 60, 60)


def test_a_drink_is_pasted_where_nothing_is_labelled_and_is_labelled_itself(tmp_path: Path) -> None:
    pictures = []
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number in range(6):
        image = np.full((200, 300, 3), WALL_BGR, np.uint8)
        rows = [f"{CIGARETTE} 0.25 0.5 0.5 1.0"]
        if number == 1:  # not one of those that get a drink: every third does
            image[50:150, 200:260] = CUP_BGR
            rows.append(f"{CUP} {230 / 300} 0.5 0.2 0.5")
        path = tmp_path / "images" / f"{number:016x}-0.jpg"
        cv2.imwrite(str(path), image)
        (tmp_path / "labels" / f"{path.stem}.txt").write_text("\n".join(rows) + "\n")
        pictures.append(path)
    made = list(paste_drinks(pictures))
    assert [path.name for path in made] == [f"{0:016x}-drink.jpg", f"{3:016x}-drink.jpg"]
    for path in made:
        cigarette, cup = (tmp_path / "labels" / f"{path.stem}.txt").read_text().splitlines()
        assert cigarette.startswith(f"{CIGARETTE} ") and cup.startswith(f"{CUP} ")
        x, y, width, _ = (float(one) for one in cup.split()[1:])
        assert x - width / 2 >= 0.5, "not over the cigarette"
        made_of = read_picture(path)
        assert np.abs(made_of[round(y * 200), round(x * 300)].astype(int) - CUP_BGR).max() < 20
    assert [path.read_bytes() for path in paste_drinks(pictures)] == [path.read_bytes() for path in made]


def test_without_a_drink_nothing_is_pasted(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    path = tmp_path / "images" / "0000000000000000-0.jpg"
    cv2.imwrite(str(path), np.zeros((20, 20, 3), np.uint8))
    (tmp_path / "labels" / f"{path.stem}.txt").write_text("\n")
    assert list(paste_drinks([path])) == []
