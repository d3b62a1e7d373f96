"""The object model for drivers, made from weights that know COCO: `python -m models.train --base WEIGHTS --data DIR`.

The sets label phones and cigarettes; what COCO knows of drinks is kept by `models.distillation`: the base weights are
the teacher, which sees every picture of every batch. Drinks are few in the sets: `--drinks` are pasted in. Nor do the
sets label each other's classes. So the teacher labels phones in the sets without phones, and drivers who telephone are
taken not to smoke.

Training is Ultralytics' own: seeded, resumable (`--resume`), with curves in `--work`. Pictures with a phone are few:
they come three times, twice of it as a small or dirty camera would see them. After it the scores of phone and
cigarette are shifted so that `OBJECT_CONFIDENCE` 0.25 is where recall and precision on the valid pictures balance,
precision first; those of drinks so that they are seen in as many of the pictures as by the base weights.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import math
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from tqdm import tqdm

from models.batch_norm import is_folded, unfold
from models.errors import one_line
from models.fetch import default_data_dir
from models.labelled import OBJECTS, MaterialError, PictureSet, picture_sets
from models.objects import checkpoint, keep_quiet
from models.picture import read_picture
from models.scores import CONFIDENCE

NAMES: Final = ("bottle", "wine glass", "cup", "cell phone", "cigarette")
"""The classes of the weights; those of COCO under its names, by which Ultralytics carries over what the base knows."""
DRINKS: Final = NAMES[:3]
TAUGHT: Final = {"phone": NAMES.index("cell phone"), "cigarette": NAMES.index("cigarette")}
"""What the sets teach, by the contract's label."""

EPOCHS: Final = 60
OPTIONS: Final = {
    "optimizer": "AdamW",
    "lr0": 1e-3,
    "momentum": 0.9,
    "warmup_epochs": 1.0,
    "warmup_bias_lr": 0.0,
    "cos_lr": True,
    "amp": False,
    "scale": 0.7,
    "mixup": 0.15,
}
IMAGE_SIZE_PX: Final = 320
SEED: Final = 0
TEACHER_IMAGE_SIZE_PX: Final = 640
TEACHER_CONFIDENCE: Final = 0.5
SPOILT_COPIES: Final = 2
PLACES: Final = 20
"""So many are tried before a picture gets no drink."""
PRECISION: Final = 0.75
"""What the shifted scores must reach at it, on the valid pictures; the goal is 0.80 elsewhere."""

Image = NDArray[np.uint8]
XYXY = tuple[float, float, float, float]


def main() -> int:
    """The command; answers with its exit code."""
    data_dir = default_data_dir()
    parser = argparse.ArgumentParser(prog="python -m models.train", description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="weights that know COCO (yolo11n.pt)")
    parser.add_argument("--data", type=Path, required=True, help="sets in YOLO's layout, each with train and valid")
    parser.add_argument("--drinks", type=Path, help="folder of pictures of drinks to paste into others")
    parser.add_argument("--out", type=Path, default=data_dir / "training" / "drivers11n.pt", help="the new weights")
    parser.add_argument("--work", type=Path, default=data_dir / "training", help="what it works with, and curves")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--batch", type=int, default=64)
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
    described, run = work / "dataset" / "data.yaml", work / "run"
    last = run / "weights" / "last.pt"
    if not arguments.resume:
        for folder in (described.parent, run):
            shutil.rmtree(folder, ignore_errors=True)
    teacher = checkpoint(arguments.base)
    if not described.is_file():
        make_dataset(arguments.data, teacher, described, arguments.drinks)
    if not is_over(last):
        resumed = last.is_file()
        model = checkpoint(last if resumed else arguments.base)
        if is_folded(model.model):
            unfold(model.model.float(), _batches(described.parent))
        model.add_callback("on_train_start", functools.partial(_teach, teacher=teacher.model))
        model.add_callback("on_train_start", _show_progress)
        if resumed:
            model.train(resume=True)
        else:
            model.train(
                data=str(described),
                epochs=arguments.epochs,
                batch=arguments.batch,
                seed=arguments.seed,
                imgsz=IMAGE_SIZE_PX,
                project=str(work),
                name=run.name,
                exist_ok=True,
                close_mosaic=arguments.epochs // 4,
                cache="disk",
                channels_last=True,
                workers=min(8, os.cpu_count() or 1),
                **OPTIONS,
            )
    model = checkpoint(last)
    shifts = _balance(model, teacher, described)
    _save(model, arguments.out)
    return shifts


def is_over(last: Path) -> bool:
    """Whether the training of this checkpoint has ended: Ultralytics then takes out what it needs to go on."""
    return last.is_file() and checkpoint(last).ckpt.get("optimizer") is None


def _teach(trainer: Any, *, teacher: Any) -> None:
    """What Ultralytics has no option for: the loss; on a CPU every core, and bfloat16 where the processor has it."""
    import torch  # noqa: PLC0415 - heavy

    from models.distillation import DistilledLoss  # noqa: PLC0415 - heavy

    trainer.model.criterion = DistilledLoss(trainer.model, teacher, kept=DRINKS)
    if trainer.device.type == "cpu":
        torch.set_num_threads(os.cpu_count() or 1)
        if torch.cpu._is_avx512_bf16_supported():  # noqa: SLF001 - torch has no public name for it
            network = type(trainer.model)
            network.loss = torch.autocast("cpu", torch.bfloat16)(network.loss)


def _show_progress(trainer: Any) -> None:
    """A bar for the whole training, batch by batch: Ultralytics shows its own for each epoch, if it is not quiet."""
    batches = len(trainer.train_loader)
    bar = tqdm(
        desc="training",
        total=trainer.epochs * batches,
        initial=trainer.start_epoch * batches,
        unit=" batches",
        disable=None,
    )
    trainer.add_callback("on_train_batch_end", lambda _: bar.update())
    trainer.add_callback("on_train_end", lambda _: bar.close())


def make_dataset(data: Path, teacher: Any, described: Path, drinks: Path | None = None) -> None:
    """The sets as one in Ultralytics' form, with the teacher's phones in those that do not label them.

    Args:
        data: Sets in YOLO's layout, each with `train` and `valid`.
        teacher: Knows COCO.
        described: The file that describes it; its folder is replaced.
        drinks: Folder of pictures of drinks to paste into some of the pictures.

    Raises:
        MaterialError: There is no such set, or one cannot be understood.
        ValueError: A picture cannot be read.
    """
    folder = described.parent
    shutil.rmtree(folder, ignore_errors=True)
    for split in ("train", "valid"):
        listed: list[Path] = []
        sets = [one for one in picture_sets(data) if one.boxed and one.name.endswith(f"/{split}")]
        if not sets:
            raise MaterialError(f"{data}: no set in YOLO's layout with a folder {split}")
        for one in sets:
            listed += _add(one, teacher, folder / split, spoil=split == "train")
        if drinks and split == "train":
            listed += paste_drinks(listed, drinks, teacher)
        (folder / f"{split}.txt").write_text("".join(f"{path}\n" for path in listed))
    lists = {"train": "train.txt", "val": "valid.txt"}
    described.write_text(yaml.safe_dump({"path": str(folder), **lists, "names": dict(enumerate(NAMES))}))


def _add(one: PictureSet, teacher: Any, folder: Path, *, spoil: bool) -> Iterator[Path]:
    """Write a set's pictures and labels; answer with the pictures' new files."""
    images, labels = folder / "images", folder / "labels"
    for path in (images, labels):
        path.mkdir(parents=True, exist_ok=True)
    has_phones = any(OBJECTS.get(name) == "phone" for name in one.classes)
    degrees = _turned(one) if spoil else 0.0
    for picture in tqdm(one.pictures, desc=one.name, unit=" pictures", disable=None):
        image = read_picture(picture.path)
        rows = [
            _row(TAUGHT[label], unturned(box.xyxy, degrees, image.shape[1] / image.shape[0]))
            for box in picture.boxes
            if (label := OBJECTS.get(box.name)) in TAUGHT
        ]
        if not has_phones:
            rows += [_row(TAUGHT["phone"], xyxy) for _, xyxy in _seen(image, teacher, NAMES[TAUGHT["phone"]])]
        name = hashlib.sha256(f"{one.name}/{picture.path.name}".encode()).hexdigest()[:16]
        copies = SPOILT_COPIES if spoil and any(row.startswith(f"{TAUGHT['phone']} ") for row in rows) else 0
        for copy in range(copies + 1):
            path = images / f"{name}-{copy}.jpg"
            if copy:
                cv2.imwrite(str(path), _spoilt(image, np.random.default_rng([copy, int(name, 16)])))
            else:
                path.symlink_to(picture.path.resolve())
            (labels / f"{path.stem}.txt").write_text("\n".join(rows) + "\n")
            yield path


def _turned(one: PictureSet) -> float:
    """By how many degrees at most the exporter of a set turned the pictures of `train`, each about as far either way.

    Roboflow says so in a note beside the set.
    """
    for note in one.pictures[0].path.parents[2].glob("README*"):
        if said := re.search(r"rotation of between -(\d+)", note.read_text(errors="replace")):
            return float(said[1])
    return 0.0


def unturned(xyxy: XYXY, degrees: float, aspect: float) -> XYXY:
    """A box as it was before its picture was turned, which made it as large as the turned box needs.

    Args:
        xyxy: Left, top, right, bottom as shares of the picture's width and height.
        degrees: The picture was turned by as much at most, and by half of it on average.
        aspect: The picture's width over its height.
    """
    share = math.tan(math.radians(degrees / 2))
    left, top, right, bottom = xyxy
    width, height = (right - left) * aspect, bottom - top
    wide = max((width - share * height) / (1 - share**2), width / 2) / aspect
    tall = max((height - share * width) / (1 - share**2), height / 2)
    x, y = (left + right) / 2, (top + bottom) / 2
    return x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2


def paste_drinks(pictures: Sequence[Path], drinks: Path, teacher: Any) -> Iterator[Path]:
    """Copies of every fourth picture with a drink pasted in where nothing is labelled, for the teacher to see.

    Args:
        pictures: Of the data set, with labels; the copies come beside them.
        drinks: Folder of pictures in which the teacher sees a drink.
        teacher: Cuts them out.

    Raises:
        MaterialError: The teacher sees no drink in them.
        ValueError: A picture cannot be read.
    """
    cut: list[Image] = []
    for path in tqdm(sorted(drinks.iterdir()), desc="drinks", unit=" pictures", disable=None):
        image = read_picture(path)
        height, width = image.shape[:2]
        for _, (left, top, right, bottom) in _seen(image, teacher, *DRINKS):
            cut.append(image[round(top * height) : round(bottom * height), round(left * width) : round(right * width)])
    if not cut:
        raise MaterialError(f"{drinks}: the base weights see no drink in its pictures")
    for path in [one for one in pictures if one.stem.endswith("-0")][::4]:
        rng = np.random.default_rng(int(path.stem[:16], 16))
        drink = cut[int(rng.integers(len(cut)))]
        image = read_picture(path).copy()
        height, width = image.shape[:2]
        scale = float(rng.uniform(0.15, 0.55)) * min(height, width) / max(drink.shape[:2])
        drink = np.asarray(cv2.resize(drink, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        tall, wide = drink.shape[:2]
        labels = path.parent.parent / "labels" / f"{path.stem}.txt"
        rows = labels.read_text().split("\n")
        for _ in range(PLACES):
            left, top = int(rng.integers(width - wide)), int(rng.integers(height - tall))
            place = left / width, top / height, (left + wide) / width, (top + tall) / height
            if not any(_overlap(row, place) for row in rows if row):
                image[top : top + tall, left : left + wide] = drink[:, :: 1 if rng.integers(2) else -1]
                copy = path.with_name(f"{path.stem[:16]}-drink.jpg")
                cv2.imwrite(str(copy), image)
                labels.with_stem(copy.stem).write_text("\n".join(rows))
                yield copy
                break


def _overlap(row: str, xyxy: XYXY) -> bool:
    _, x, y, width, height = map(float, row.split())
    return x - width / 2 < xyxy[2] and xyxy[0] < x + width / 2 and y - height / 2 < xyxy[3] and xyxy[1] < y + height / 2


def _seen(image: Image, teacher: Any, *names: str) -> Iterator[tuple[str, XYXY]]:
    """What the teacher sees of some of its classes."""
    wanted = [number for number, name in teacher.names.items() if name in names]
    [result] = teacher.predict(
        image, imgsz=TEACHER_IMAGE_SIZE_PX, conf=TEACHER_CONFIDENCE, classes=wanted, verbose=False
    )
    for xyxy, number in zip(result.boxes.xyxyn.tolist(), result.boxes.cls.tolist(), strict=True):
        yield teacher.names[int(number)], tuple(xyxy)


def _batches(dataset: Path) -> Iterator[Any]:
    """Every eighth picture of the data set, eight at a time."""
    import torch  # noqa: PLC0415 - heavy

    paths = (dataset / "train.txt").read_text().splitlines()[::8]
    size = IMAGE_SIZE_PX, IMAGE_SIZE_PX
    for at in tqdm(range(0, len(paths), 8), desc="normalising", unit=" batches", disable=None):
        images = [cv2.resize(read_picture(Path(path)), size)[:, :, ::-1] for path in paths[at : at + 8]]
        yield torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()).float() / 255


def _row(number: int, xyxy: XYXY) -> str:
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


def _balance(model: Any, teacher: Any, described: Path) -> dict[str, float]:
    """Shift the scores; by how much, in logits. Those of a label that is never found stay as they are."""
    found = model.val(data=str(described), imgsz=IMAGE_SIZE_PX, plots=False, verbose=False).box
    shifts: dict[str, float] = {}
    for label, number in TAUGHT.items():
        shifts[label] = 0.0
        if number not in found.ap_class_index:
            continue
        at = list(found.ap_class_index).index(number)
        precision, recall = found.p_curve[at], found.r_curve[at]
        if not recall.any():
            continue
        good = precision >= min(PRECISION, precision[recall > 0].max())
        best = float(found.px[int(np.argmax(np.where(good, found.f1_curve[at], -1.0)))])
        shifts[label] = _shift(model, [number], best)
    pictures = [path for split in ("train", "valid") for path in (described.parent / split / "images").glob("*-0.jpg")]
    often = sum(score >= CONFIDENCE for score in _drinks(teacher, pictures))
    scores = sorted(_drinks(model, pictures), reverse=True)
    least = scores[often - 1] if often else 0.0
    shifts["drinks"] = _shift(model, [NAMES.index(name) for name in DRINKS], least) if least else 0.0
    return shifts


def _shift(model: Any, numbers: Sequence[int], score: float) -> float:
    """Make `CONFIDENCE` of what is this score now, for some classes; by how much, in logits."""
    score = min(max(score, 0.01), 0.99)
    shift = round(math.log(CONFIDENCE / (1 - CONFIDENCE)) - math.log(score / (1 - score)), 3)
    for branch in model.model.model[-1].cv3:
        branch[-1].bias.data[list(numbers)] += shift
    return shift


def _drinks(model: Any, pictures: Sequence[Path]) -> Iterator[float]:
    """The best score of a drink in each picture."""
    wanted = [number for number, name in model.names.items() if name in DRINKS]
    for path in tqdm(pictures, desc="balancing", unit=" pictures", disable=None):
        [seen] = model.predict(read_picture(path), imgsz=IMAGE_SIZE_PX, conf=0.01, classes=wanted, verbose=False)
        yield max(seen.boxes.conf.tolist(), default=0.0)


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
