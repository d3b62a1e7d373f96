"""The object model for drivers, made from weights that know COCO: `python -m models.train --base WEIGHTS --data DIR`.

The sets do not label each other's classes, nor what COCO knows. So the base weights label what a set leaves out:
bottles, cups and glasses everywhere, phones in the sets without phones. Nobody labels cigarettes in the set of phones:
drivers who telephone are taken not to smoke.

Training is Ultralytics' own: seeded, resumable (`--resume`), with curves in `--work`. Pictures with a phone or a drink
are few: they come three times, twice of it as a small or dirty camera would see them; `--drinks` are pasted in.
The first run trains almost all layers and forgets what COCO taught of cups; so the backbone is moved most of the way
back, the head a fifth, and a second run trains the head. The branch for large objects stays COCO's. After it the scores
of phone and cigarette are shifted so that `OBJECT_CONFIDENCE` 0.25 is where recall and precision on the valid pictures
balance, precision first.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from models.batch_norm import is_folded, unfold
from models.errors import one_line
from models.fetch import default_data_dir
from models.labelled import OBJECTS, Box, MaterialError, PictureSet, picture_sets
from models.objects import checkpoint, keep_quiet
from models.picture import read_picture
from models.scores import CONFIDENCE

NAMES: Final = ("bottle", "wine glass", "cup", "cell phone", "cigarette")
"""The classes of the weights; those of COCO under its names, by which Ultralytics carries over what the base knows."""
TAUGHT: Final = {"phone": NAMES.index("cell phone"), "cigarette": NAMES.index("cigarette")}
"""What the sets teach, by the contract's label."""

EPOCHS: Final = (15, 13)
"""Of the first run and of the second."""
FROZEN_FIRST: Final = 3
"""Layers that stay as they are in the first run: edges and colours, half of an epoch's time."""
BACKBONE: Final = 11
"""So many layers are the backbone. In the second run it stays as it is."""
BACKBONE_SHARE: Final = 0.25
HEAD_SHARE: Final = 0.8
"""How far the weights between the two runs lie from the base's to the first run's."""
KEPT_SHARE: Final = 0.85
"""Likewise of the second run, for neck and head."""
LARGE: Final = ("model.20.", "model.21.", "model.22.", "model.23.cv2.2.", "model.23.cv3.2.")
"""The branch for large objects, which stays the base's: the sets have none, and without it large cups are lost."""
SECOND_RUN: Final = {
    "optimizer": "AdamW",
    "lr0": 8e-4,
    "momentum": 0.9,
    "warmup_epochs": 1.0,
    "warmup_bias_lr": 0.0,
}
"""A lower rate than that of the first run: it should not forget again."""
IMAGE_SIZE_PX: Final = 320
SEED: Final = 0
TEACHER_IMAGE_SIZE_PX: Final = 640
TEACHER_CONFIDENCE: Final = 0.5
SPOILT_COPIES: Final = 2
PRECISION: Final = 0.75
"""What the shifted scores must reach at it, on the valid pictures; the goal is 0.80 elsewhere."""

DRINKS: Final = ("bottle", "wine glass", "cup")
PLACES: Final = 20
"""So many are tried before a picture gets no drink."""

Image = NDArray[np.uint8]


def main() -> int:
    """The command; answers with its exit code."""
    data_dir = default_data_dir()
    parser = argparse.ArgumentParser(prog="python -m models.train", description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="weights that know COCO (yolo11n.pt)")
    parser.add_argument("--data", type=Path, required=True, help="sets in YOLO's layout, each with train and valid")
    parser.add_argument("--drinks", type=Path, help="folder of pictures of drinks to paste into others")
    parser.add_argument("--out", type=Path, default=data_dir / "training" / "drivers11n.pt", help="the new weights")
    parser.add_argument("--work", type=Path, default=data_dir / "training", help="what it works with, and curves")
    parser.add_argument("--epochs", type=int, nargs=2, default=EPOCHS, help="of the two runs")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--resume", action="store_true", help="go on where it was stopped")
    arguments = parser.parse_args()
    try:
        shifts = _make(arguments)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{one_line(error)}\n")
        return 1
    sys.stdout.write(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.1f} MB; scores shifted by {shifts}\n")
    return 0


def _make(arguments: argparse.Namespace) -> dict[str, float]:
    """The new weights; by how much their scores were shifted."""
    work: Path = arguments.work.absolute()
    keep_quiet(work)
    described, first, second, mixed = work / "dataset" / "data.yaml", work / "first", work / "second", work / "mixed.pt"
    start = first / "weights" / "start.pt"
    if not arguments.resume:
        for folder in (described.parent, first, second):
            shutil.rmtree(folder, ignore_errors=True)
        mixed.unlink(missing_ok=True)
    if not described.is_file():
        make_dataset(arguments.data, arguments.base, described, arguments.drinks)
    if not mixed.is_file():
        if not _is_done(first):
            base = checkpoint(arguments.base)
            if is_folded(base.model):
                unfold(base.model.float(), _batches(work / "dataset"))
            base.add_callback("on_train_start", _keep_start)
            _train(base, first, arguments, epochs=arguments.epochs[0], freeze=FROZEN_FIRST)
        mix(first / "weights" / "last.pt", start, mixed, backbone=BACKBONE_SHARE, head=HEAD_SHARE)
    if not _is_done(second):
        _train(checkpoint(mixed), second, arguments, epochs=arguments.epochs[1], freeze=BACKBONE, **SECOND_RUN)
    mix(second / "weights" / "last.pt", start, work / "whole.pt", backbone=1.0, head=KEPT_SHARE)
    made = checkpoint(work / "whole.pt")
    shifts = _balance(made, described)
    _save(made, arguments.out)
    return shifts


def _is_done(run: Path) -> bool:
    return (run / "done").is_file()


def _train(model: Any, run: Path, arguments: argparse.Namespace, *, epochs: int, **options: Any) -> None:
    """One run of Ultralytics' training, or the rest of it."""
    last = run / "weights" / "last.pt"
    resumed = arguments.resume and last.is_file()
    if resumed:
        model = checkpoint(last)
    model.add_callback("on_train_start", _hasten)
    if resumed:
        model.train(resume=True)
    else:
        model.train(
            data=str(run.parent / "dataset" / "data.yaml"),
            epochs=epochs,
            batch=arguments.batch,
            seed=arguments.seed,
            imgsz=IMAGE_SIZE_PX,
            project=str(run.parent),
            name=run.name,
            exist_ok=True,
            cos_lr=True,
            close_mosaic=epochs // 4,
            cache="disk",
            channels_last=True,
            workers=2,
            **options,
        )
    (run / "done").touch()


def make_dataset(data: Path, base: Path, described: Path, drinks: Path | None) -> None:
    """The sets as one in Ultralytics' form, with the teacher's labels where they have none.

    Args:
        data: Sets in YOLO's layout, each with `train` and `valid`.
        base: The teacher's weights.
        described: The file that describes it; its folder is replaced.
        drinks: Folder of pictures of drinks to paste into some of the pictures.

    Raises:
        MaterialError: There is no such set, or one cannot be understood.
        ValueError: A picture cannot be read.
    """
    folder = described.parent
    shutil.rmtree(folder, ignore_errors=True)
    teacher = checkpoint(base)
    for split in ("train", "valid"):
        listed: list[str] = []
        sets = [one for one in picture_sets(data) if one.boxed and one.name.endswith(f"/{split}")]
        if not sets:
            raise MaterialError(f"{data}: no set in YOLO's layout with a folder {split}")
        for one in sets:
            listed += [str(path) for path in _add(one, teacher, folder / split, spoil=split == "train")]
        if drinks and split == "train":
            listed += [str(path) for path in paste_drinks([Path(one) for one in listed], drinks, teacher)]
        (folder / f"{split}.txt").write_text("\n".join(listed) + "\n")
    lists = {"train": "train.txt", "val": "valid.txt"}
    described.write_text(yaml.safe_dump({"path": str(folder), **lists, "names": dict(enumerate(NAMES))}))


def _add(one: PictureSet, teacher: Any, folder: Path, *, spoil: bool) -> Iterator[Path]:
    """Write a set's pictures and labels; answer with the pictures' new files."""
    images, labels = folder / "images", folder / "labels"
    for path in (images, labels):
        path.mkdir(parents=True, exist_ok=True)
    known = {OBJECTS.get(name) for name in one.classes}
    asked = [number for number, name in enumerate(NAMES) if OBJECTS[name] not in known and name != "cigarette"]
    for picture in one.pictures:
        image = read_picture(picture.path)
        rows = [*_own(picture.boxes), *_teachers(image, teacher, asked)]
        name = hashlib.sha256(f"{one.name}/{picture.path.name}".encode()).hexdigest()[:16]
        copies = SPOILT_COPIES if spoil and any(not row.startswith(f"{TAUGHT['cigarette']} ") for row in rows) else 0
        for copy in range(copies + 1):
            path = images / f"{name}-{copy}.jpg"
            if copy:
                cv2.imwrite(str(path), _spoilt(image, np.random.default_rng([copy, int(name, 16)])))
            else:
                path.symlink_to(picture.path.resolve())
            (labels / f"{path.stem}.txt").write_text("\n".join(rows) + "\n")
            yield path


def paste_drinks(pictures: Sequence[Path], drinks: Path, teacher: Any) -> Iterator[Path]:
    """Copies of every fourth picture with a drink pasted in where nothing is labelled: the sets have few.

    Args:
        pictures: Of the data set, with labels; the copies come beside them.
        drinks: Folder of pictures in which the teacher sees a drink.
        teacher: Cuts them out, and says what they are.
    """
    cut: list[tuple[int, Image]] = []
    for path in sorted(drinks.iterdir()):
        image = read_picture(path)
        height, width = image.shape[:2]
        for row in _teachers(image, teacher, [NAMES.index(name) for name in DRINKS]):
            number, x, y, wide, tall = map(float, row.split())
            left, top = round((x - wide / 2) * width), round((y - tall / 2) * height)
            right, bottom = round((x + wide / 2) * width), round((y + tall / 2) * height)
            cut.append((int(number), image[top:bottom, left:right]))
    if not cut:
        raise MaterialError(f"{drinks}: the base weights see no drink in its pictures")
    for path in [one for one in pictures if one.stem.endswith("-0")][::4]:
        rng = np.random.default_rng(int(path.stem[:16], 16))
        number, drink = cut[int(rng.integers(len(cut)))]
        image = read_picture(path).copy()
        height, width = image.shape[:2]
        scale = float(rng.uniform(0.15, 0.55)) * min(height, width) / max(drink.shape[:2])
        drink = np.asarray(cv2.resize(drink, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        tall, wide = drink.shape[:2]
        labels = path.parent.parent / "labels" / f"{path.stem}.txt"
        rows = [row for row in labels.read_text().splitlines() if row]
        for _ in range(PLACES):
            left, top = int(rng.integers(width - wide)), int(rng.integers(height - tall))
            place = left / width, top / height, (left + wide) / width, (top + tall) / height
            if not any(_overlap(row, place) for row in rows):
                image[top : top + tall, left : left + wide] = drink[:, :: 1 if rng.integers(2) else -1]
                copy = path.with_name(f"{path.stem[:16]}-drink.jpg")
                cv2.imwrite(str(copy), image)
                labels.with_stem(copy.stem).write_text("\n".join([*rows, _row(number, place)]) + "\n")
                yield copy
                break


def _overlap(row: str, xyxy: tuple[float, float, float, float]) -> bool:
    _, x, y, width, height = map(float, row.split())
    return x - width / 2 < xyxy[2] and xyxy[0] < x + width / 2 and y - height / 2 < xyxy[3] and xyxy[1] < y + height / 2


def _own(boxes: Sequence[Box]) -> Iterator[str]:
    for box in boxes:
        label = OBJECTS.get(box.name)
        if label in TAUGHT:
            yield _row(TAUGHT[label], box.xyxy)


def _teachers(image: Image, teacher: Any, asked: Sequence[int]) -> Iterator[str]:
    """What the teacher sees of the classes that the set does not label."""
    numbers = {number: NAMES.index(name) for number, name in teacher.names.items() if name in NAMES}
    wanted = [number for number, own in numbers.items() if own in asked]
    [result] = teacher.predict(
        image,
        imgsz=TEACHER_IMAGE_SIZE_PX,
        conf=TEACHER_CONFIDENCE,
        classes=wanted,
        device=None,
        verbose=False,
    )
    for xyxy, number in zip(result.boxes.xyxyn.tolist(), result.boxes.cls.tolist(), strict=True):
        yield _row(numbers[int(number)], xyxy)


def _batches(dataset: Path) -> Iterator[Any]:
    """Every eighth picture of the data set, eight at a time."""
    import torch  # noqa: PLC0415 - heavy

    paths = (dataset / "train.txt").read_text().splitlines()[::8]
    size = IMAGE_SIZE_PX, IMAGE_SIZE_PX
    for at in range(0, len(paths), 8):
        images = [cv2.resize(read_picture(Path(path)), size)[:, :, ::-1] for path in paths[at : at + 8]]
        yield torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()).float() / 255


def _hasten(trainer: Any) -> None:
    """On a CPU: every core (Ultralytics leaves one free), and bfloat16 where the processor has it."""
    import torch  # noqa: PLC0415 - heavy

    if trainer.device.type != "cpu":
        return
    torch.set_num_threads(os.cpu_count() or 1)
    if torch.cpu._is_avx512_bf16_supported():  # noqa: SLF001 - torch has no public name for it
        network = type(trainer.model)
        network.loss = torch.autocast("cpu", torch.bfloat16)(network.loss)


def _keep_start(trainer: Any) -> None:
    """What the first run begins with, for `mix`."""
    import torch  # noqa: PLC0415 - heavy

    torch.save(trainer.model.state_dict(), trainer.wdir / "start.pt")


def mix(trained: Path, start: Path, out: Path, *, backbone: float, head: float) -> None:
    """Weights between those before and after a run (WiSE-FT, Wortsman et al. 2022), but for the class that was new.

    Args:
        trained: The weights after it.
        start: The values before it, by name.
        out: The new weights.
        backbone: How far the backbone lies from before (0) to after (1).
        head: Likewise, of neck and head but for `LARGE`.
    """
    import torch  # noqa: PLC0415 - heavy

    model = checkpoint(trained)
    before, after = torch.load(start, map_location="cpu"), model.model.float().state_dict()
    for name, values in after.items():
        if values.is_floating_point():
            layer = int(name.split(".")[1])
            share = 0.0 if name.startswith(LARGE) else backbone if layer < BACKBONE else head
            mixed = before[name].float() * (1 - share) + values * share
            if share and ".cv3." in name and name.split(".")[-2] == "2":  # the class branch's last: a row for each
                mixed[TAUGHT["cigarette"]] = values[TAUGHT["cigarette"]]
            after[name] = mixed
    model.model.load_state_dict(after)
    unfinished = out.with_suffix(".unfinished.pt")
    _save(model, unfinished)
    unfinished.replace(out)


def _row(number: int, xyxy: Sequence[float]) -> str:
    left, top, right, bottom = (min(max(share, 0.0), 1.0) for share in xyxy)
    return f"{number} {(left + right) / 2:.6f} {(top + bottom) / 2:.6f} {right - left:.6f} {bottom - top:.6f}"


def _spoilt(image: Image, rng: np.random.Generator) -> Image:
    """The picture as a small camera in the dark, out of focus or shaken, would send it."""
    height, width = image.shape[:2]
    if rng.integers(2):  # infrared
        image = np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    side = int(rng.integers(200, 400))
    scale = side / max(height, width)
    small = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    kind = rng.integers(3)
    if kind == 0:
        small = cv2.GaussianBlur(small, (0, 0), float(rng.uniform(0.5, 2.0)))
    elif kind == 1:
        length = int(rng.integers(3, 10))
        small = cv2.blur(small, (length, 1) if rng.integers(2) else (1, length))
    dark = float(rng.uniform(0.4, 1.1))
    noisy = small.astype(np.float32) * dark + rng.normal(0, rng.uniform(0, 8), small.shape)
    _, jpeg = cv2.imencode(
        ".jpg", noisy.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 70))]
    )
    sent = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.asarray(cv2.resize(sent, (width, height)), dtype=np.uint8)


def _balance(model: Any, described: Path) -> dict[str, float]:
    """Shift the scores of what was taught; by how much, in logits."""
    found = model.val(data=str(described), imgsz=IMAGE_SIZE_PX, plots=False, verbose=False).box
    shifts: dict[str, float] = {}
    for label, number in TAUGHT.items():
        at = list(found.ap_class_index).index(number)
        precision, recall = found.p_curve[at], found.r_curve[at]
        good = precision >= min(PRECISION, precision[recall > 0].max())
        best = float(found.px[int(np.argmax(np.where(good, found.f1_curve[at], -1.0)))])
        best = min(max(best, 0.01), 0.99)
        shifts[label] = round(math.log(CONFIDENCE / (1 - CONFIDENCE)) - math.log(best / (1 - best)), 3)
        for branch in model.model.model[-1].cv3:
            branch[-1].bias.data[number] += shifts[label]
    return shifts


def _save(model: Any, out: Path) -> None:
    """The weights alone, in half precision: what Ultralytics keeps beside them names folders of this machine."""
    out.parent.mkdir(parents=True, exist_ok=True)
    module = model.model
    module.args = {"imgsz": IMAGE_SIZE_PX, "task": "detect"}
    module.pt_path = module.yaml_file = None
    model.ckpt = {}
    model.save(str(out))


if __name__ == "__main__":
    raise SystemExit(main())
