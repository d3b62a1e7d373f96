"""What training does before its run, and the loss that it minimises."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import torch
import yaml

from models.distillation import DistilledLoss
from models.objects import OWN_WEIGHTS, checkpoint, keep_quiet
from models.picture import read_picture
from models.train import DRINKS, NAMES, is_over, make_dataset, unturned

CUP_BGR = (0, 200, 0)
GREY = 60
TALLER = 2.0


class Teacher:
    """Sees a cup or a phone, whichever it is asked for, in the middle half of every picture."""

    names: ClassVar = {41: "cup", 67: "cell phone"}

    def predict(self, _image: object, *, classes: list[int], **_: object) -> list[Any]:
        boxes = SimpleNamespace(xyxyn=np.array([[0.25, 0.25, 0.75, 0.75]]), cls=np.array(classes[:1], float))
        return [SimpleNamespace(boxes=boxes)]


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """A set of cigarettes, whose pictures were turned by up to 15 degrees; and a folder of a drink."""
    root = tmp_path / "sets" / "smoke"
    for split in ("train", "valid"):
        for folder in ("images", "labels"):
            (root / split / folder).mkdir(parents=True)
        for number in range(5):
            picture = np.full((200, 300, 3), GREY, np.uint8)
            cv2.imwrite(str(root / split / "images" / f"{number}.png"), picture)
            (root / split / "labels" / f"{number}.txt").write_text("0 0.15 0.5 0.2 0.3\n")
    (root / "data.yaml").write_text("train: train/images\nval: valid/images\nnames: [smoke]\n")
    (root / "README.roboflow.txt").write_text("* Random rotation of between -15 and +15 degrees\n")
    cup = np.zeros((80, 80, 3), np.uint8)
    cup[20:60, 20:60] = CUP_BGR
    (tmp_path / "drinks").mkdir()
    cv2.imwrite(str(tmp_path / "drinks" / "cup.png"), cup)
    return root.parent


def test_training_is_over_when_its_checkpoint_cannot_go_on(tmp_path: Path) -> None:
    keep_quiet(tmp_path)
    last = tmp_path / "last.pt"
    assert not is_over(last)
    kept = checkpoint(OWN_WEIGHTS).ckpt
    torch.save({**kept, "optimizer": {"state": {}}}, last)
    assert not is_over(last)
    torch.save({**kept, "optimizer": None}, last)
    assert is_over(last)


def test_the_data_set_has_the_teachers_phones_and_boxes_as_they_were_drawn(sets: Path, tmp_path: Path) -> None:
    described = tmp_path / "dataset" / "data.yaml"
    make_dataset(sets, Teacher(), described)
    assert list(yaml.safe_load(described.read_text())["names"].values()) == list(NAMES)
    made: dict[str, set[str]] = {}
    for split in ("train", "valid"):
        pictures = (described.parent / f"{split}.txt").read_text().split()
        assert len(pictures) == (15 if split == "train" else 5), "with a phone: thrice in training"
        made[split] = {(Path(one).parents[1] / "labels" / f"{Path(one).stem}.txt").read_text() for one in pictures}
    phone = f"{NAMES.index('cell phone')} 0.500000 0.500000 0.500000 0.500000"
    cigarette = NAMES.index("cigarette")
    assert made["valid"] == {f"{cigarette} 0.150000 0.500000 0.200000 0.300000\n{phone}\n"}
    [row] = {text.split("\n")[0] for text in made["train"]}
    number, *_, width, height = map(float, row.split())
    assert number == cigarette and width < 0.2 and height < 0.3


def test_a_box_is_as_it_was_before_its_picture_was_turned() -> None:
    turned = math.tan(math.radians(7.5))
    width, height = 120 + 40 * turned, 40 + 120 * turned  # pixels, of a picture of 600 x 300
    left, top, right, bottom = unturned(
        (0.5 - width / 1200, 0.5 - height / 600, 0.5 + width / 1200, 0.5 + height / 600), 15, 2
    )
    assert ((right - left) * 600, (bottom - top) * 300) == pytest.approx((120, 40))
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((0.5, 0.5))
    assert unturned((0.1, 0.2, 0.3, 0.4), 0, 1) == pytest.approx((0.1, 0.2, 0.3, 0.4))
    flat = unturned((0.0, 0.5, 0.5, 0.501), 15, 1)
    assert flat[3] - flat[1] == pytest.approx(0.0005), "half at least"


def test_a_drink_is_pasted_where_nothing_is_labelled(sets: Path, tmp_path: Path) -> None:
    described = tmp_path / "dataset" / "data.yaml"
    make_dataset(sets, Teacher(), described, tmp_path / "drinks")
    pictures = [Path(one) for one in (described.parent / "train.txt").read_text().split()]
    pasted = [path for path in pictures if path.stem.endswith("-drink")]
    assert pasted and len(pictures) == 15 + len(pasted)
    for path in pasted:
        labels = path.parents[1] / "labels"
        assert (labels / f"{path.stem}.txt").read_text() == (labels / f"{path.stem[:16]}-0.txt").read_text()
        image = read_picture(path).astype(int)
        assert (np.abs(image - CUP_BGR).max(2) < 20).sum() > 100, "it is there"
        assert np.abs(image[80:120, 30:60] - GREY).max() < 20, "not over the cigarette"


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Any:
    keep_quiet(tmp_path_factory.mktemp("ultralytics"))
    return checkpoint(OWN_WEIGHTS)


def loss(detector: Any, teacher: Any, labels: list[list[float]], shift: tuple[str, float] | None = None) -> list[float]:
    """Of box, class and distribution, for a grey picture."""
    network = checkpoint(OWN_WEIGHTS).model.float().train()
    network.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    if shift:
        for branch in network.model[-1].cv3:
            branch[-1].bias.data[NAMES.index(shift[0])] += shift[1]
    network.eval()
    rows = torch.tensor(labels).reshape(-1, 5)
    batch = {
        "img": torch.full((1, 3, 320, 320), GREY / 255),
        "batch_idx": torch.zeros(len(rows)),
        "cls": rows[:, :1],
        "bboxes": rows[:, 1:],
    }
    with torch.no_grad():
        _, parts = DistilledLoss(network, teacher, kept=DRINKS)(network(batch["img"]), batch)
    return [float(part) for part in parts.values()]


def test_of_drinks_the_teacher_decides_and_of_all_else_the_labels(detector: Any) -> None:
    teacher = detector.model.float()
    nothing = loss(detector, teacher, [])
    assert loss(detector, teacher, [[NAMES.index("cell phone"), 0.5, 0.5, 0.4, 0.4]])[0] > nothing[0] == 0
    assert loss(detector, teacher, [], ("cup", 9.0))[1] > TALLER * nothing[1], "a drink that the teacher does not see"
    assert loss(detector, teacher, [], ("cell phone", 9.0))[1] > TALLER * nothing[1]
